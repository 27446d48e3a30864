// pgjdbc: prepared by the server after five uses, batches, COPY, fetch sizes, cancel, notifications, threads. A program
// of one file: `java -cp /usr/share/java/postgresql.jar Jdbc.java`. One line of JSON per step.
import java.io.StringReader;
import java.io.StringWriter;
import java.math.BigDecimal;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.sql.Timestamp;
import java.time.OffsetDateTime;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import java.util.UUID;
import java.util.concurrent.Callable;
import java.util.concurrent.Executors;
import org.postgresql.PGConnection;
import org.postgresql.PGNotification;
import org.postgresql.util.PGobject;

public class Jdbc {
  static Connection main;

  static Connection connect(String... more) throws SQLException {
    Properties options = new Properties();
    options.setProperty("user", System.getenv("PGUSER"));
    options.setProperty("password", System.getenv("PGPASSWORD"));
    for (int at = 0; at < more.length; at += 2) options.setProperty(more[at], more[at + 1]);
    String place = System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/" + System.getenv("PGDATABASE");
    return DriverManager.getConnection("jdbc:postgresql://" + place, options);
  }

  static List<Object> rows(Connection on, String sql, Object... values) throws SQLException {
    try (PreparedStatement statement = on.prepareStatement(sql)) {
      for (int at = 0; at < values.length; at++) statement.setObject(at + 1, values[at]);
      return rows(statement.executeQuery());
    }
  }

  static List<Object> rows(ResultSet result) throws SQLException {
    List<Object> rows = new ArrayList<>();
    int columns = result.getMetaData().getColumnCount();
    while (result.next()) {
      List<Object> row = new ArrayList<>();
      for (int at = 1; at <= columns; at++) row.add(result.getObject(at));
      rows.add(row);
    }
    return rows;
  }

  static void run(Connection on, String sql) throws SQLException {
    try (Statement statement = on.createStatement()) {
      statement.execute(sql);
    }
  }

  static List<Object> errorOf(Callable<?> work) throws Exception {
    try {
      work.call();
    } catch (SQLException error) {
      return List.of(error.getSQLState(), String.valueOf(error.getMessage()).split("\n")[0]);
    }
    throw new IllegalStateException("an error was expected");
  }

  static List<Object> tables() throws Exception {
    run(main, "CREATE TABLE items (id integer PRIMARY KEY, name text NOT NULL, n integer DEFAULT 0)");
    try (Connection rewriting = connect("reWriteBatchedInserts", "true");
        PreparedStatement insert = rewriting.prepareStatement("INSERT INTO items (id, name) VALUES (?, ?)")) {
      for (int n = 0; n < 500; n++) {
        insert.setInt(1, n);
        insert.setString(2, "item " + n);
        insert.addBatch();
      }
      int length = insert.executeBatch().length;
      return List.of(length, rows(main, "SELECT count(*), max(name) FROM items"));
    }
  }

  static List<Object> types() throws Exception {
    PGobject doc = new PGobject();
    doc.setType("jsonb");
    doc.setValue("{\"nested\": [1, \"two\", null]}");
    String query = "SELECT ?::int8, ?::float8, ?::numeric, ?::text, ?::boolean, ?::timestamptz, ?::timestamp, ?::date,"
        + " ?::uuid, ?, ?::text[], ?::int[], ?::bytea, ?::int";
    Object[] values = {
      Long.MAX_VALUE, 0.1, new BigDecimal("12345678901234.567891"), "naïve \"quotes\" \\ and ' and\n€", true,
      OffsetDateTime.parse("2024-02-29T12:34:56.789012Z"), Timestamp.valueOf("2024-02-29 12:34:56"),
      java.sql.Date.valueOf("1999-12-31"), UUID.fromString("9b2fdc7c-0f9d-4f7b-8e1a-0a2a5b9f3c11"), doc,
      main.createArrayOf("text", new String[] {"one", "with, comma", "quote\"d", null}),
      main.createArrayOf("int4", new Integer[] {1, -2, 3}), new byte[] {0, 1, 92, 39, -1}, null
    };
    List<Object> seen = new ArrayList<>();
    try (Connection binary = connect("prepareThreshold", "-1")) {
      for (Connection on : List.of(main, binary)) {
        List<?> row = (List<?>) rows(on, query, values).get(0);
        for (Object value : row) {
          String kind = value == null ? "null" : value.getClass().getSimpleName();
          seen.add(List.of(kind, value instanceof byte[] ? List.of(((byte[]) value).length) : String.valueOf(value)));
        }
      }
    }
    return seen;
  }

  static List<Object> transactions() throws Exception {
    main.setAutoCommit(false);
    main.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
    run(main, "UPDATE items SET n = 1 WHERE id = 1");
    var before = main.setSavepoint("before");
    List<Object> seen = errorOf(() -> rows(main, "SELECT 1 / ?", 0));
    main.rollback(before);
    main.releaseSavepoint(before);
    Object level = rows(main, "SHOW transaction_isolation");
    main.commit();
    run(main, "DELETE FROM items");
    main.rollback();
    main.setAutoCommit(true);
    main.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
    return List.of(seen, level, rows(main, "SELECT n, count(*) OVER () FROM items WHERE id < 3 ORDER BY id"));
  }

  static List<Object> fail() throws Exception {
    return List.of(
        errorOf(() -> main.createStatement().execute("INSERT INTO items VALUES (1, 'x')")),
        errorOf(() -> rows(main, "SELECT nothing FROM items")),
        errorOf(() -> rows(main, "SELECT ?::text::int", "x")),
        errorOf(() -> main.createStatement().execute("nonsense")));
  }

  static List<Object> prepared() throws Exception {
    List<Object> seen = new ArrayList<>();
    for (String threshold : List.of("1", "3", "0")) {
      try (Connection mine = connect("prepareThreshold", threshold)) {
        for (int n = 0; n < 12; n++) seen.add(rows(mine, "SELECT name FROM items WHERE id = ?", n));
      }
    }
    return seen;
  }

  static List<Object> batch() throws Exception {
    main.setAutoCommit(false);
    List<Object> seen = new ArrayList<>();
    try (PreparedStatement update = main.prepareStatement("UPDATE items SET n = ? WHERE id = ?")) {
      for (int n = 0; n < 300; n++) {
        update.setInt(1, n);
        update.setInt(2, n);
        update.addBatch();
      }
      seen.add(update.executeBatch().length);
    }
    main.commit();
    try (Statement several = main.createStatement()) {
      several.addBatch("UPDATE items SET n = 99");
      several.addBatch("INSERT INTO items VALUES (1, 'x')");
      several.addBatch("UPDATE items SET n = 98");
      seen.add(errorOf(() -> several.executeBatch()));
    }
    main.rollback();
    main.setAutoCommit(true);
    seen.add(rows(main, "SELECT count(*), sum(n) FROM items"));
    return seen;
  }

  static List<Object> copy() throws Exception {
    var copies = main.unwrap(PGConnection.class).getCopyAPI();
    StringBuilder lines = new StringBuilder();
    for (int n = 1000; n < 1200; n++) lines.append(n).append("\tcopied ").append(n).append('\n');
    long said = copies.copyIn("COPY items (id, name) FROM STDIN", new StringReader(lines.toString()));
    StringWriter out = new StringWriter();
    copies.copyOut("COPY (SELECT id, name FROM items WHERE id >= 1000 ORDER BY id LIMIT 3) TO STDOUT CSV", out);
    String broken = "5000\tfine\n1\tthere already\n";
    List<Object> error = errorOf(() -> copies.copyIn("COPY items (id, name) FROM STDIN", new StringReader(broken)));
    var given = copies.copyIn("COPY items (id, name) FROM STDIN");
    given.writeToCopy("6000\tgiven up\n".getBytes(), 0, 14);
    given.cancelCopy();
    return List.of(said, out.toString(), error, rows(main, "SELECT count(*) FROM items"));
  }

  static List<Object> parts() throws Exception {
    main.setAutoCommit(false);
    long sum = 0;
    int count = 0;
    try (PreparedStatement query = main.prepareStatement("SELECT id FROM items ORDER BY id")) {
      query.setFetchSize(37);
      ResultSet result = query.executeQuery();
      // Another statement runs while the portal is suspended.
      while (result.next()) {
        if (count == 50) rows(main, "SELECT 1");
        sum += result.getInt(1);
        count++;
      }
    }
    main.commit();
    main.setAutoCommit(true);
    return List.of(count, sum);
  }

  static List<Object> cancel() throws Exception {
    List<Object> seen = new ArrayList<>();
    try (Statement statement = main.createStatement()) {
      statement.setQueryTimeout(1);
      seen.add(errorOf(() -> statement.execute("SELECT pg_sleep(20)")));
    }
    seen.add(rows(main, "SELECT 1"));
    return seen;
  }

  static List<Object> settings() throws Exception {
    try (Connection mine = connect("currentSchema", "pg_catalog", "options", "-c statement_timeout=9s")) {
      run(mine, "SET application_name = 'mine'");
      mine.setReadOnly(true);
      mine.setAutoCommit(false);
      List<Object> seen = new ArrayList<>();
      for (Connection on : List.of(mine, main)) {
        for (String name : List.of("search_path", "statement_timeout", "application_name", "extra_float_digits")) {
          seen.add(rows(on, "SHOW " + name));
        }
      }
      seen.add(errorOf(() -> mine.createStatement().execute("CREATE TABLE public.never (n int)")));
      mine.rollback();
      seen.add(mine.unwrap(PGConnection.class).getParameterStatus("application_name"));
      return seen;
    }
  }

  static List<Object> crowd() throws Exception {
    var threads = Executors.newFixedThreadPool(20);
    Callable<Integer> raise = () -> {
      try (Connection mine = connect()) {
        mine.setAutoCommit(false);
        List<?> row = (List<?>) rows(mine, "SELECT n FROM items WHERE id = 1 FOR UPDATE").get(0);
        int next = (Integer) row.get(0) + 1;
        try (PreparedStatement update = mine.prepareStatement("UPDATE items SET n = ? WHERE id = 1")) {
          update.setInt(1, next);
          update.executeUpdate();
        }
        mine.commit();
        return next;
      }
    };
    List<Callable<Integer>> all = new ArrayList<>();
    for (int n = 0; n < 20; n++) all.add(raise);
    List<Object> seen = new ArrayList<>();
    for (var done : threads.invokeAll(all)) seen.add(done.get());
    threads.shutdown();
    seen.sort((a, b) -> (Integer) a - (Integer) b);
    return seen;
  }

  static List<Object> listen() throws Exception {
    try (Connection mine = connect()) {
      run(mine, "LISTEN shop");
      run(main, "NOTIFY shop, 'one'");
      rows(main, "SELECT pg_notify('shop', ?)", "two");
      List<Object> seen = new ArrayList<>();
      long end = System.currentTimeMillis() + 10_000;
      while (seen.size() < 2 && System.currentTimeMillis() < end) {
        for (PGNotification heard : mine.unwrap(PGConnection.class).getNotifications(1_000)) {
          seen.add(List.of(heard.getName(), heard.getParameter()));
        }
      }
      return seen;
    }
  }

  static String json(Object value) {
    if (value == null) return "null";
    if (value instanceof Number || value instanceof Boolean) return value.toString();
    if (value instanceof List<?> list) {
      List<String> parts = new ArrayList<>();
      for (Object part : list) parts.add(json(part));
      return "[" + String.join(", ", parts) + "]";
    }
    StringBuilder text = new StringBuilder("\"");
    for (char c : value.toString().toCharArray()) {
      if (c == '"' || c == '\\') text.append('\\').append(c);
      else if (c < 32 || c > 126) text.append(String.format("\\u%04x", (int) c));
      else text.append(c);
    }
    return text.append('"').toString();
  }

  static void step(String name, Callable<?> work) throws Exception {
    System.out.println("{\"step\": " + json(name) + ", \"seen\": " + json(work.call()) + "}");
  }

  public static void main(String[] args) throws Exception {
    main = connect();
    step("version", () -> main.getMetaData().getDriverVersion());
    step("tables", Jdbc::tables);
    step("types", Jdbc::types);
    step("transactions", Jdbc::transactions);
    step("fail", Jdbc::fail);
    step("prepared", Jdbc::prepared);
    step("batch", Jdbc::batch);
    step("copy", Jdbc::copy);
    step("parts", Jdbc::parts);
    step("cancel", Jdbc::cancel);
    step("settings", Jdbc::settings);
    step("crowd", Jdbc::crowd);
    step("listen", Jdbc::listen);
  }
}
