"""Count what a function does, so that its growth shows on a machine of any speed."""
import sys, time

def calls(work, text):
    "Return how many functions, C's included, `work` calls on a text; caches are warm."
    count = 0
    def note(frame, event, argument):
        nonlocal count
        count += event in ("call", "c_call")
    work(text)
    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work(text)
    finally:
        sys.setprofile(before)
    return count

def quickest(work, text, laps=2):
    "Return the processor time of the quickest of a few laps."
    times = []
    for _ in range(laps):
        start = time.process_time()
        work(text)
        times.append(time.process_time() - start)
    return min(times)

def assert_grows_with_length(work, unit, times):
    """Twice the text takes twice the calls; four times the text takes no ten times as long (16 would be the square).

    The second is for a pattern that scans ahead from every place: that hides inside one call.
    """
    assert calls(work, unit * (times // 2)) <= 2.3 * calls(work, unit * (times // 4)) + 500
    for _ in range(3):  # a busy machine may spoil one comparison, not three
        short, long = quickest(work, unit * times), quickest(work, unit * (4 * times))
        if long < max(10 * short, 0.03):  # what is shorter can't be measured
            return
    assert long < 10 * short, f"{unit[:12]!r} × {4 * times}: {long / short:.1f} times as long as a quarter of it"
