"""Wrong answers to the exercises of part 6: code, and the property that it fails in."""

WRONG = {
}
