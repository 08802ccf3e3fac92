"""Three answers to each exercise that people really give, and the property that each fails in."""
from importlib import import_module

WRONG = {number: answers for part in range(9)
         for number, answers in import_module(f"tests.wrong_answers.part{part}").WRONG.items()}
