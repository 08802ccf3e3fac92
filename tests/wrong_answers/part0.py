"""Wrong answers to the exercises of part 0: code, and the property that it fails in."""

WRONG = {
}
