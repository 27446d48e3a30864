// pgx 4 by itself, and lib/pq under database/sql: prepared and cached statements, batches, COPY, cancel, notifications.
// One line of JSON per step. Debian's packages are found by GOPATH.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"sort"
	"sync"
	"time"

	"github.com/jackc/pgconn"
	"github.com/jackc/pgx/v4"
	"github.com/jackc/pgx/v4/pgxpool"
	"github.com/lib/pq"
)

var background = context.Background()

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func connect(more string) *pgx.Conn {
	conn, err := pgx.Connect(background, more)
	check(err)
	return conn
}

func errorOf(err error) []string {
	var server *pgconn.PgError
	if errors.As(err, &server) {
		return []string{server.Code, server.Message}
	}
	var other *pq.Error
	if errors.As(err, &other) {
		return []string{string(other.Code), other.Message}
	}
	panic(fmt.Sprintf("an error was expected, not %v", err))
}

type querier interface {
	Query(context.Context, string, ...interface{}) (pgx.Rows, error)
}

func rows(on querier, query string, values ...interface{}) [][]interface{} {
	found, err := on.Query(background, query, values...)
	check(err)
	defer found.Close()
	seen := [][]interface{}{}
	for found.Next() {
		row, err := found.Values()
		check(err)
		seen = append(seen, row)
	}
	check(found.Err())
	return seen
}

func tables(main *pgx.Conn) interface{} {
	_, err := main.Exec(background, "CREATE TABLE items (id integer PRIMARY KEY, name text NOT NULL, n integer DEFAULT 0)")
	check(err)
	batch := &pgx.Batch{}
	for n := 0; n < 500; n++ {
		batch.Queue("INSERT INTO items (id, name) VALUES ($1, $2)", n, fmt.Sprintf("item %d", n))
	}
	check(main.SendBatch(background, batch).Close())
	return rows(main, "SELECT count(*), max(name) FROM items")
}

func types(main *pgx.Conn) interface{} {
	query := `SELECT $1::int8, $2::float8, $3::numeric, $4::text, $5::bool, $6::timestamptz, $7::date, $8::uuid, $9::jsonb,
		$10::text[], $11::int[], $12::bytea, $13::int`
	at := time.Date(2024, 2, 29, 12, 34, 56, 789012000, time.UTC)
	values := []interface{}{int64(1)<<62 + 1, 0.1, "12345678901234.567891", "naïve \"quotes\" \\ and ' and\n€", true, at, at,
		"9b2fdc7c-0f9d-4f7b-8e1a-0a2a5b9f3c11", map[string]interface{}{"nested": []interface{}{1, "two", nil}},
		[]string{"one", "with, comma", "quote\"d"}, []int32{1, -2, 3}, []byte{0, 1, 92, 39, 255}, nil}
	seen := []string{}
	for _, simple := range []bool{false, true} {
		asked := append([]interface{}{pgx.QuerySimpleProtocol(simple)}, values...)
		if simple {
			asked[9] = `{"nested": [1, "two", null]}`
		}
		for _, value := range rows(main, query, asked...)[0] {
			if when, ok := value.(time.Time); ok {
				value = when.UTC()
			}
			seen = append(seen, fmt.Sprintf("%T %v", value, value))
		}
	}
	return seen
}

func transactions(main *pgx.Conn) interface{} {
	var seen []string
	check(main.BeginTxFunc(background, pgx.TxOptions{IsoLevel: pgx.Serializable}, func(tx pgx.Tx) error {
		_, err := tx.Exec(background, "UPDATE items SET n = 1 WHERE id = 1")
		check(err)
		inner := tx.BeginFunc(background, func(nested pgx.Tx) error {
			_, err := nested.Exec(background, "UPDATE items SET n = 1 / 0")
			return err
		})
		seen = errorOf(inner)
		return nil
	}))
	given := main.BeginFunc(background, func(tx pgx.Tx) error {
		_, err := tx.Exec(background, "DELETE FROM items")
		check(err)
		return errors.New("given up")
	})
	left := rows(main, "SELECT n, count(*) OVER () FROM items WHERE id < 3 ORDER BY id")
	return []interface{}{seen, given.Error(), left}
}

func fail(main *pgx.Conn) interface{} {
	seen := [][]string{}
	for _, query := range []string{"INSERT INTO items VALUES (1, 'x')", "SELECT nothing FROM items", "SELECT 1 / 0", "nonsense"} {
		_, err := main.Exec(background, query)
		seen = append(seen, errorOf(err))
	}
	return seen
}

func prepared(main *pgx.Conn) interface{} {
	seen := []interface{}{}
	for _, mode := range []string{"prepare", "describe"} {
		for round := 0; round < 3; round++ {
			mine := connect("statement_cache_mode=" + mode)
			for n := 0; n < 12; n++ {
				seen = append(seen, rows(mine, "SELECT name FROM items WHERE id = $1", n))
			}
			check(mine.Close(background))
		}
	}
	return seen
}

func batch(main *pgx.Conn) interface{} {
	many := &pgx.Batch{}
	for n := 0; n < 300; n++ {
		many.Queue("UPDATE items SET n = $1 WHERE id = $1", n)
	}
	check(main.SendBatch(background, many).Close())
	broken := &pgx.Batch{}
	broken.Queue("UPDATE items SET n = 99")
	broken.Queue("SELECT 1 / $1::int", 0)
	broken.Queue("UPDATE items SET n = 98")
	results := main.SendBatch(background, broken)
	_, first := results.Exec()
	_, second := results.Exec()
	results.Close()
	return []interface{}{first == nil, errorOf(second), rows(main, "SELECT count(*), sum(n) FROM items")}
}

func copyRows(main *pgx.Conn) interface{} {
	name := pgx.Identifier{"items"}
	columns := []string{"id", "name"}
	source := [][]interface{}{}
	for n := 1000; n < 1200; n++ {
		source = append(source, []interface{}{int32(n), fmt.Sprintf("copied\t%d", n)})
	}
	said, err := main.CopyFrom(background, name, columns, pgx.CopyFromRows(source))
	check(err)
	broken := [][]interface{}{{int32(5000), "fine"}, {int32(1), "there already"}}
	_, err = main.CopyFrom(background, name, columns, pgx.CopyFromRows(broken))
	seen := errorOf(err)
	unfit := [][]interface{}{{int32(6000), "fine"}, {"no number", 1}}
	_, err = main.CopyFrom(background, name, columns, pgx.CopyFromRows(unfit))
	return []interface{}{said, seen, err != nil, rows(main, "SELECT count(*), max(name) FROM items")}
}

func cancel(main *pgx.Conn) interface{} {
	mine := connect("")
	// pgx gives up the connection when its context ends: the server is asked to stop by hand.
	go func() {
		time.Sleep(500 * time.Millisecond)
		check(mine.PgConn().CancelRequest(background))
	}()
	_, err := mine.Exec(background, "SELECT pg_sleep(20)")
	return []interface{}{errorOf(err), rows(mine, "SELECT 1")}
}

func settings(main *pgx.Conn) interface{} {
	mine := connect("search_path=pg_catalog statement_timeout=9s application_name=mine")
	_, err := mine.Exec(background, "SET TIME ZONE 'Asia/Kathmandu'")
	check(err)
	seen := []interface{}{mine.PgConn().ParameterStatus("TimeZone")}
	for _, on := range []*pgx.Conn{mine, main} {
		for _, name := range []string{"search_path", "statement_timeout", "application_name", "TimeZone"} {
			seen = append(seen, rows(on, "SHOW "+name))
		}
	}
	return seen
}

func crowd(main *pgx.Conn) interface{} {
	config, err := pgxpool.ParseConfig("")
	check(err)
	config.MaxConns = 20
	pool, err := pgxpool.ConnectConfig(background, config)
	check(err)
	defer pool.Close()
	seen := make([]int, 20)
	var all sync.WaitGroup
	for at := range seen {
		all.Add(1)
		go func(at int) {
			defer all.Done()
			check(pool.BeginFunc(background, func(tx pgx.Tx) error {
				var n int
				check(tx.QueryRow(background, "SELECT n FROM items WHERE id = 1 FOR UPDATE").Scan(&n))
				seen[at] = n + 1
				_, err := tx.Exec(background, "UPDATE items SET n = $1 WHERE id = 1", n+1)
				return err
			}))
		}(at)
	}
	all.Wait()
	sort.Ints(seen)
	return seen
}

func listen(main *pgx.Conn) interface{} {
	mine := connect("")
	_, err := mine.Exec(background, "LISTEN shop")
	check(err)
	_, err = main.Exec(background, "NOTIFY shop, 'one'")
	check(err)
	_, err = main.Exec(background, "SELECT pg_notify('shop', $1)", "two")
	check(err)
	seen := [][]string{}
	for len(seen) < 2 {
		limited, stop := context.WithTimeout(background, 10*time.Second)
		heard, err := mine.WaitForNotification(limited)
		stop()
		check(err)
		seen = append(seen, []string{heard.Channel, heard.Payload})
	}
	return seen
}

// libPq does the like with lib/pq, whose every parameter makes an unnamed statement.
func libPq(_ *pgx.Conn) interface{} {
	db, err := sql.Open("postgres", "sslmode=disable binary_parameters=yes")
	check(err)
	defer db.Close()
	tx, err := db.Begin()
	check(err)
	into, err := tx.Prepare(pq.CopyIn("items", "id", "name"))
	check(err)
	for n := 2000; n < 2100; n++ {
		_, err = into.Exec(n, fmt.Sprintf("copied %d", n))
		check(err)
	}
	_, err = into.Exec()
	check(err)
	check(into.Close())
	check(tx.Commit())
	statement, err := db.Prepare("SELECT name FROM items WHERE id = ANY($1) ORDER BY id")
	check(err)
	seen := []interface{}{}
	for round := 0; round < 5; round++ {
		found, err := statement.Query(pq.Array([]int{2000 + round, 2050}))
		check(err)
		for found.Next() {
			var name string
			check(found.Scan(&name))
			seen = append(seen, name)
		}
		check(found.Err())
	}
	limited, stop := context.WithTimeout(background, 500*time.Millisecond)
	defer stop()
	_, err = db.ExecContext(limited, "SELECT pg_sleep(20)")
	_, broken := db.Exec("INSERT INTO items VALUES ($1, $2)", 1, "x")
	return append(seen, errorOf(err), errorOf(broken))
}

func main() {
	conn := connect("")
	say := func(step string, seen interface{}) {
		line, err := json.Marshal(map[string]interface{}{"step": step, "seen": seen})
		check(err)
		os.Stdout.Write(append(line, '\n'))
	}
	say("version", "4.15.0 (lib/pq 1.10.7)")
	steps := []struct {
		name string
		run  func(*pgx.Conn) interface{}
	}{
		{"tables", tables}, {"types", types}, {"transactions", transactions}, {"fail", fail}, {"prepared", prepared},
		{"batch", batch}, {"copy", copyRows}, {"cancel", cancel}, {"settings", settings}, {"crowd", crowd},
		{"listen", listen}, {"libPq", libPq},
	}
	for _, step := range steps {
		say(step.name, step.run(conn))
	}
}
