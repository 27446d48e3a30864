"""What the Python programs share: one line of JSON per step on standard output, and a crowd of threads."""
import json
import os
import sys
import threading
import traceback

CROWD = 20


def target():
    """Where to connect: the environment that libpq knows."""
    return {
        "host": os.environ["PGHOST"],
        "port": int(os.environ["PGPORT"]),
        "user": os.environ["PGUSER"],
        "password": os.environ["PGPASSWORD"],
        "database": os.environ["PGDATABASE"],
    }


def say(step, seen):
    """Writes what a step observed; anything that JSON does not know is shown as Python shows it."""
    print(json.dumps({"step": step, "seen": seen}, default=repr, ensure_ascii=False), flush=True)


def run(steps):
    """Runs the steps in order. A step that raises is written down as such, and ends the program."""
    for name, step in steps.items():
        try:
            seen = step()
        except Exception:
            traceback.print_exc()
            sys.exit(1)
        say(name, seen)


def error_of(work):
    """SQLSTATE and first line of the message of the database error that `work` raises."""
    try:
        work()
    except Exception as error:  # the drivers' errors have no class in common
        inner = error
        while getattr(inner, "pgcode", None) is None and getattr(inner, "sqlstate", None) is None:
            inner = getattr(inner, "orig", None) or inner.__cause__
            if inner is None:
                raise
        code = getattr(inner, "pgcode", None) or inner.sqlstate
        return [type(error).__name__, code, str(inner).splitlines()[0]]
    raise AssertionError("an error was expected")


def crowd(work):
    """What `work` returned in each of twenty threads at once, sorted."""
    seen = []

    def one():
        try:
            seen.append(work())
        except Exception:
            traceback.print_exc()
            seen.append("failed")

    threads = [threading.Thread(target=one) for _ in range(CROWD)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(seen, key=str)
