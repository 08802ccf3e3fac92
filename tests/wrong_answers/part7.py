"""Wrong answers to the exercises of part 7: code, and the property that it fails in."""

WRONG = {
}
