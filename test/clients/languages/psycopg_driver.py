"""psycopg 3: server-side binding, prepared statements by its own count, pipeline mode, COPY, cursors, NOTIFY."""
import datetime
import decimal
import threading
import uuid

import psycopg
from psycopg.types.json import Jsonb

import observing

where = observing.target()


def connect(**more):
    return psycopg.connect("", autocommit=True, **more)


main = connect()


def tables():
    main.execute("CREATE TABLE items (id integer PRIMARY KEY, name text NOT NULL, n integer DEFAULT 0)")
    with main.cursor() as cursor:
        cursor.executemany("INSERT INTO items (id, name) VALUES (%s, %s)", [(n, f"item {n}") for n in range(500)])
        return [cursor.rowcount, main.execute("SELECT count(*), max(name) FROM items").fetchone()]


def types():
    values = [
        -32768,
        2**31 - 1,
        2**63 - 1,
        2**70,
        0.1,
        decimal.Decimal("12345678901234.567891"),
        "naïve \"quotes\" \\ and ' and\n€",
        True,
        datetime.datetime(2024, 2, 29, 12, 34, 56, 789012, datetime.timezone.utc),
        datetime.datetime(2024, 2, 29, 12, 34, 56),
        datetime.date(1999, 12, 31),
        datetime.time(1, 2, 3),
        datetime.timedelta(days=3, microseconds=5),
        uuid.UUID("9b2fdc7c-0f9d-4f7b-8e1a-0a2a5b9f3c11"),
        Jsonb({"nested": [1, "two", None]}),
        ["one", "with, comma", 'quote"d', None],
        [1, -2, 3],
        bytes([0, 1, 92, 39, 255]),
        None,
    ]
    query = "SELECT " + ", ".join(["%s"] * len(values))
    seen = []
    for binary in (False, True):
        row = main.execute(query.replace("%s", "%b") if binary else query, values, binary=binary).fetchone()
        seen.append([[repr(value), type(value).__name__] for value in row])
    return seen


def transactions():
    with main.transaction():
        main.execute("UPDATE items SET n = 1 WHERE id = 1")
        try:
            with main.transaction():
                main.execute("UPDATE items SET n = 2 WHERE id = 1")
                main.execute("SELECT 1 / 0")
        except psycopg.errors.DivisionByZero as error:
            seen = error.diag.message_primary
        with main.transaction("named") as named:
            main.execute("UPDATE items SET n = n + 10 WHERE id = 1")
            raise psycopg.Rollback(named)
    try:
        with main.transaction():
            main.execute("DELETE FROM items")
            raise ValueError("given up")
    except ValueError:
        pass
    return [seen, main.execute("SELECT n, count(*) OVER () FROM items WHERE id < 3 ORDER BY id").fetchall()]


def fail():
    return [
        observing.error_of(lambda: main.execute("INSERT INTO items VALUES (1, 'x')")),
        observing.error_of(lambda: main.execute("SELECT nothing FROM items")),
        observing.error_of(lambda: main.execute("SELECT %s::int", ["x"])),
        observing.error_of(lambda: main.execute("nonsense")),
        main.info.transaction_status.name,
    ]


def prepared():
    seen = []
    for _ in range(3):
        with connect(prepare_threshold=2) as connection:
            for n in range(12):
                row = connection.execute("SELECT name FROM items WHERE id = %s", [n]).fetchone()
                seen.append(row[0])
    main.execute("ALTER TABLE items ADD COLUMN more text DEFAULT 'm'")
    for n in range(8):
        seen.append(main.execute("SELECT * FROM items WHERE id = %s", [n], prepare=True).fetchone())
    return seen


def batch():
    seen = []
    with connect() as connection:
        with connection.pipeline():
            cursors = [connection.execute("SELECT name FROM items WHERE id = %s", [n]) for n in range(50)]
            seen = [cursor.fetchone()[0] for cursor in cursors]
        try:
            with connection.pipeline(), connection.transaction():
                connection.execute("UPDATE items SET n = 99")
                connection.execute("SELECT 1 / %s", [0])
                connection.execute("UPDATE items SET n = 98")
        except psycopg.errors.DivisionByZero as error:
            seen.append(error.diag.message_primary)
        row = connection.execute("SELECT count(*) FROM items WHERE n > 90").fetchone()
    return [seen, row]


def copy():
    with main.cursor() as cursor:
        with cursor.copy("COPY items (id, name) FROM STDIN") as into:
            for n in range(1000, 1200):
                into.write_row((n, f"copied\t{n}"))
        copied = cursor.rowcount
        with cursor.copy("COPY (SELECT id, name FROM items WHERE id >= 1000 ORDER BY id) TO STDOUT (FORMAT binary)") as out:
            out.set_types(["int4", "text"])
            rows = list(out.rows())

    def broken():
        with main.cursor().copy("COPY items (id, name) FROM STDIN") as into:
            into.write_row((5000, "fine"))
            into.write_row((1, "there already"))

    def abandoned():
        with main.cursor().copy("COPY items (id, name) FROM STDIN") as into:
            into.write_row((5000, "fine"))
            raise ValueError("given up")

    try:
        abandoned()
    except psycopg.errors.QueryCanceled as error:
        end = error.diag.message_primary
    count = main.execute("SELECT count(*) FROM items").fetchone()
    return [copied, len(rows), rows[:2], observing.error_of(broken), end, count]


def parts():
    with main.transaction():
        with main.cursor("portal") as cursor:
            cursor.itersize = 100
            cursor.execute("SELECT id FROM items ORDER BY id")
            first = [row[0] for row in cursor]
        with main.cursor("scroll", scrollable=True) as cursor:
            cursor.execute("SELECT id FROM items ORDER BY id")
            cursor.scroll(10)
            ahead = cursor.fetchmany(3)
            cursor.scroll(-5)
            back = cursor.fetchone()
    return [len(first), sum(first), ahead, back]


def cancel():
    with connect() as connection:
        timer = threading.Timer(0.5, connection.cancel)
        timer.start()
        seen = observing.error_of(lambda: connection.execute("SELECT pg_sleep(20)"))
        return [seen, connection.execute("SELECT 1").fetchone()]


def listen():
    with connect() as connection:
        connection.execute("LISTEN shop")
        with main.transaction():
            main.execute("NOTIFY shop, 'one'")
            main.execute("SELECT pg_notify('shop', 'two')")
        main.execute("NOTIFY other, 'unheard'")
        seen = []
        for notify in connection.notifies():
            seen.append([notify.channel, notify.payload])
            if notify.payload == "two":
                break
        connection.execute("UNLISTEN *")
        return seen


def settings():
    with connect(options="-c search_path=pg_catalog -c statement_timeout=9s") as connection:
        connection.execute("SET TIME ZONE 'Asia/Kathmandu'")
        names = ("search_path", "statement_timeout", "TimeZone", "application_name")
        mine = [connection.execute(f"SHOW {name}").fetchone()[0] for name in names]
        others = [main.execute(f"SHOW {name}").fetchone()[0] for name in names]
        return [mine, others, connection.info.parameter_status("TimeZone"), connection.info.encoding]


def crowd():
    def raise_one():
        with connect() as connection, connection.transaction():
            row = connection.execute("SELECT n FROM items WHERE id = 1 FOR UPDATE").fetchone()
            connection.execute("UPDATE items SET n = %s WHERE id = 1", [row[0] + 1])
            return row[0] + 1

    return observing.crowd(raise_one)


def version():
    return f"{psycopg.__version__} (libpq {psycopg.pq.version()})"


observing.run(
    {
        "version": version,
        "tables": tables,
        "types": types,
        "transactions": transactions,
        "fail": fail,
        "prepared": prepared,
        "batch": batch,
        "copy": copy,
        "parts": parts,
        "cancel": cancel,
        "listen": listen,
        "settings": settings,
        "crowd": crowd,
    }
)
