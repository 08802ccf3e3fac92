"""The main job, as `make demo` runs it: a corpus, a first sentence, two trainings, a table, and a page of it all."""
