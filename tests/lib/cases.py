"""Cases that know nothing of each other, some at once, and what came of them."""

import multiprocessing
import threading


def run(function, jobs, at_once):
    """Yields function(job) of each job as it is done: (number, None or what failed, what was done).

    One at once runs in this process, several in processes that are begun anew: a fork of this one
    would hold locks of threads that it does not have. Whoever stops listening waits for the cases
    that are being run; those behind them are not begun.
    """
    if at_once == 1:
        yield from map(function, jobs)
        return
    free, unwanted = threading.Semaphore(at_once), threading.Event()

    def begun():
        for job in jobs:
            free.acquire()
            if unwanted.is_set():
                return
            yield job

    pool = multiprocessing.get_context("spawn").Pool(at_once)
    try:
        for outcome in pool.imap_unordered(function, begun()):
            free.release()
            yield outcome
    finally:
        unwanted.set()
        free.release()
        pool.close()
        pool.join()


def count(outcomes, command, only_first=False):
    """(cases that failed, sums of what was done). Prints each failure and what repeats it:
    `command`, and the number of the case behind it."""
    failed, totals = 0, {}
    for number, failure, done in outcomes:
        for key, value in done.items():
            totals[key] = totals.get(key, 0) + value
        if failure is None:
            continue
        failed += 1
        print(f"FAILED; repeat with: {command} {number}\n{failure}", flush=True)
        if only_first:
            break
    return failed, totals
