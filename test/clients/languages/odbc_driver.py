"""PostgreSQL's ODBC driver (psqlodbc) under unixODBC, by pyodbc: it prepares, uses cursors and savepoints by itself."""
import datetime
import decimal
import threading

import pyodbc

import observing

where = observing.target()
base = "Driver={{PostgreSQL Unicode}};Server={host};Port={port};Database={database};Uid={user};Pwd={password};".format(**where)
pyodbc.pooling = False


def connect(more=""):
    return pyodbc.connect(base + more, autocommit=True)


def rows(connection, sql, *values):
    return [list(row) for row in connection.execute(sql, *values).fetchall()]


def error_of(work):
    try:
        work()
    except pyodbc.Error as error:
        return [type(error).__name__, error.args[0], error.args[1].splitlines()[0]]
    raise AssertionError("an error was expected")


main = connect()


def tables():
    main.execute("CREATE TABLE items (id integer PRIMARY KEY, name text NOT NULL, n integer DEFAULT 0)")
    with main.cursor() as cursor:
        cursor.executemany("INSERT INTO items (id, name) VALUES (?, ?)", [(n, f"item {n}") for n in range(500)])
        names = [row.column_name for row in cursor.columns(table="items")]
        keys = [row.column_name for row in cursor.primaryKeys(table="items")]
    return [rows(main, "SELECT count(*), max(name) FROM items"), names, keys]


def types():
    values = [
        2**63 - 1,
        0.1,
        decimal.Decimal("12345678901234.567891"),
        "naïve \"quotes\" \\ and ' and\n€",
        True,
        datetime.datetime(2024, 2, 29, 12, 34, 56, 789012),
        datetime.date(1999, 12, 31),
        bytes([0, 1, 92, 39, 255]),
        None,
    ]
    query = "SELECT ?::int8, ?::float8, ?::numeric(20, 6), ?::text, ?::boolean, ?::timestamp, ?::date, ?::bytea, ?::int"
    seen = []
    for more in ("", "UseServerSidePrepare=0;", "BoolsAsChar=0;ByteaAsLongVarBinary=1;"):
        with connect(more) as connection:
            seen.append([repr(value) for value in rows(connection, query, *values)[0]])
    return seen


def transactions():
    connection = connect("Protocol=7.4-2;")
    connection.autocommit = False
    connection.execute("UPDATE items SET n = 1 WHERE id = 1")
    # The driver sets a savepoint before each statement, so that the failed one alone is taken back.
    seen = error_of(lambda: connection.execute("UPDATE items SET n = 1 / 0"))
    connection.execute("UPDATE items SET n = n + 1 WHERE id = 1")
    connection.commit()
    gone = connection.execute("DELETE FROM items").rowcount
    connection.rollback()
    connection.close()
    return [seen, gone, rows(main, "SELECT n, count(*) OVER () FROM items WHERE id < 3 ORDER BY id")]


def fail():
    return [
        error_of(lambda: main.execute("INSERT INTO items VALUES (1, 'x')")),
        error_of(lambda: main.execute("SELECT nothing FROM items")),
        error_of(lambda: main.execute("SELECT ?::int", "x")),
        error_of(lambda: main.execute("nonsense")),
    ]


def prepared():
    seen = []
    for _ in range(3):
        with connect() as connection, connection.cursor() as cursor:
            for n in range(12):
                seen.append(cursor.execute("SELECT name FROM items WHERE id = ?", n).fetchval())
    return seen


def batch():
    with main.cursor() as cursor:
        cursor.execute("UPDATE items SET n = 5 WHERE id = 2; SELECT n FROM items WHERE id = 2; SELECT 'last'")
        seen = [cursor.rowcount]
        while cursor.nextset():
            seen.append([list(row) for row in cursor.fetchall()])
    return seen


def parts():
    with connect("UseDeclareFetch=1;Fetch=100;") as connection:
        connection.autocommit = False
        cursor = connection.execute("SELECT id FROM items ORDER BY id")
        ids = [row[0] for row in cursor]
        connection.commit()
    return [len(ids), sum(ids)]


def cancel():
    with connect() as connection, connection.cursor() as cursor:
        timer = threading.Timer(0.5, cursor.cancel)
        timer.start()
        seen = error_of(lambda: cursor.execute("SELECT pg_sleep(20)"))
        return [seen, rows(connection, "SELECT 1")]


def settings():
    with connect("ConnSettings=SET TIME ZONE 'Asia/Kathmandu';") as connection:
        names = ("TimeZone", "DateStyle")
        return [[rows(of, f"SHOW {name}") for name in names] for of in (connection, main)]


def version():
    return f"{main.getinfo(pyodbc.SQL_DRIVER_VER)} (pyodbc {pyodbc.version})"


observing.run(
    {
        "version": version,
        "tables": tables,
        "types": types,
        "transactions": transactions,
        "fail": fail,
        "prepared": prepared,
        "batch": batch,
        "parts": parts,
        "cancel": cancel,
        "settings": settings,
    }
)
