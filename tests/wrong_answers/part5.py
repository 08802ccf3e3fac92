"""Wrong answers to the exercises of part 5: code, and the property that it fails in."""

WRONG = {
}
