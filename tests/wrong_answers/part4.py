"""Wrong answers to the exercises of part 4: code, and the property that it fails in."""

WRONG = {
}
