# Perl's DBD::Pg: prepared by the server, COPY, asynchronous queries and their cancel, notifications. One line of
# JSON per step.
use strict;
use warnings;
use utf8;
use DBD::Pg qw(:pg_types :async);
use DBI;
use JSON::PP;

$| = 1;
my $json = JSON::PP->new->utf8->canonical->allow_blessed;

sub connected {
    my $dsn = "dbi:Pg:dbname=$ENV{PGDATABASE};host=$ENV{PGHOST};port=$ENV{PGPORT}";
    my $options = { RaiseError => 1, PrintError => 0, PrintWarn => 0, AutoCommit => 1, pg_enable_utf8 => 1, @_ };
    return DBI->connect($dsn, $ENV{PGUSER}, $ENV{PGPASSWORD}, $options);
}

sub error_of {
    my ($of, $work) = @_;
    eval { $work->(); 1 } and die 'an error was expected';
    my ($first) = split /\n/, $of->errstr;
    return [ $of->state, $first ];
}

my $db = connected();
my @steps;

push @steps, version => sub { "$DBD::Pg::VERSION (libpq $db->{pg_lib_version})" };

push @steps, tables => sub {
    $db->do('CREATE TABLE items (id integer PRIMARY KEY, name text NOT NULL, n integer DEFAULT 0)');
    my $insert = $db->prepare('INSERT INTO items (id, name) VALUES (?, ?)');
    $insert->bind_param_array(1, [ 0 .. 499 ]);
    $insert->bind_param_array(2, [ map {"item $_"} 0 .. 499 ]);
    $insert->execute_array({ ArrayTupleStatus => \my @status });
    return [ scalar @status, $db->selectrow_arrayref('SELECT count(*), max(name) FROM items') ];
};

push @steps, types => sub {
    my $query = $db->prepare('SELECT ?::int8, 0.1::float8, ?::numeric, ?::text, ?::boolean, ?::timestamptz, ?::date,
        ?::uuid, ?::jsonb, ?::text[], ?::int[], ?::bytea, ?::int');
    $query->bind_param(11, "\x00\x01\\'\xff", { pg_type => PG_BYTEA });
    my @values = (
        '9223372036854775807', '12345678901234.567891', "naïve \"quotes\" \\ and ' and\n€", 't',
        '2024-02-29 12:34:56.789012+00', '1999-12-31', '9b2fdc7c-0f9d-4f7b-8e1a-0a2a5b9f3c11',
        '{"nested": [1, "two", null]}', [ 'one', 'with, comma', 'quote"d', undef ], [ 1, -2, 3 ]
    );
    $query->bind_param($_ + 1, $values[$_]) for 0 .. $#values;
    $query->bind_param(12, undef);
    $query->execute;
    my @row = @{ $query->fetchrow_arrayref };
    $row[11] = unpack 'H*', $row[11];
    return [ \@row, $query->{pg_type} ];
};

push @steps, transactions => sub {
    $db->begin_work;
    $db->do('UPDATE items SET n = 1 WHERE id = 1');
    $db->pg_savepoint('before');
    my $seen = error_of($db, sub { $db->do('UPDATE items SET n = 1 / 0') });
    $db->pg_rollback_to('before');
    $db->pg_release('before');
    $db->commit;
    $db->begin_work;
    my $gone = $db->do('DELETE FROM items');
    my $state = $db->ping;
    $db->rollback;
    my $rows = $db->selectall_arrayref('SELECT n, count(*) OVER () FROM items WHERE id < 3 ORDER BY id');
    return [ $seen, $gone, $state, $rows ];
};

push @steps, fail => sub {
    return [
        error_of($db, sub { $db->do(q{INSERT INTO items VALUES (1, 'x')}) }),
        error_of($db, sub { $db->selectall_arrayref('SELECT nothing FROM items') }),
        error_of($db, sub { $db->selectall_arrayref('SELECT ?::int', {}, 'x') }),
        error_of($db, sub { $db->do('nonsense') }),
    ];
};

push @steps, prepared => sub {
    my @seen;
    for (1 .. 3) {
        my $mine = connected(pg_server_prepare => 1, pg_switch_prepared => 1);
        my $query = $mine->prepare('SELECT name FROM items WHERE id = ?');
        push @seen, $mine->selectrow_array($query, {}, $_) for 0 .. 11;
        $mine->disconnect;
    }
    return \@seen;
};

push @steps, batch => sub {
    $db->do('UPDATE items SET n = 5 WHERE id = 2; UPDATE items SET n = 6 WHERE id IN (3, 4)');
    my $error = error_of($db, sub { $db->do('UPDATE items SET n = 99; SELECT 1 / 0') });
    return [ $error, $db->selectall_arrayref('SELECT id, n FROM items WHERE n > 2 ORDER BY id') ];
};

push @steps, copy => sub {
    $db->do('COPY items (id, name) FROM STDIN');
    $db->pg_putcopydata("$_\tcopied $_\n") for 1000 .. 1199;
    my $said = $db->pg_putcopyend;
    $db->do('COPY (SELECT id, name FROM items WHERE id >= 1000 ORDER BY id LIMIT 3) TO STDOUT CSV');
    my @lines;
    while ($db->pg_getcopydata(\my $line) >= 0) { push @lines, $line }
    $db->do('COPY items (id, name) FROM STDIN');
    $db->pg_putcopydata("5000\tfine\n1\tthere already\n");
    my $broken = error_of($db, sub { $db->pg_putcopyend });
    return [ $said, \@lines, $broken, $db->selectrow_array('SELECT count(*) FROM items') ];
};

push @steps, parts => sub {
    $db->begin_work;
    $db->do('DECLARE mine SCROLL CURSOR FOR SELECT id FROM items ORDER BY id');
    my @seen = $db->selectcol_arrayref('FETCH 3 FROM mine');
    push @seen, $db->do('MOVE 10 IN mine'), $db->selectcol_arrayref('FETCH BACKWARD 2 FROM mine');
    $db->do('CLOSE mine');
    $db->commit;
    return \@seen;
};

push @steps, cancel => sub {
    $db->do('SELECT pg_sleep(20)', { pg_async => PG_ASYNC });
    select undef, undef, undef, 0.5;
    my $ready = $db->pg_ready;
    my $cancelled = $db->pg_cancel;
    return [ $ready, $cancelled, $db->state, $db->selectrow_array('SELECT 1') ];
};

push @steps, settings => sub {
    my $mine = connected();
    $mine->do(q{SET TIME ZONE 'Asia/Kathmandu'});
    $mine->do(q{SET application_name = 'mine'});
    return [ map { my $of = $_; [ map { $of->selectrow_array("SHOW $_") } qw(TimeZone application_name) ] } $mine, $db ];
};

push @steps, listen => sub {
    my $mine = connected();
    $mine->do('LISTEN shop');
    $db->do(q{NOTIFY shop, 'one'});
    $db->do(q{SELECT pg_notify('shop', 'two')});
    my @seen;
    for (1 .. 200) {
        while (my $heard = $mine->pg_notifies) { push @seen, [ $heard->[0], $heard->[2] ] }
        last if @seen >= 2;
        select undef, undef, undef, 0.05;
    }
    return \@seen;
};

while (my ($name, $step) = splice @steps, 0, 2) {
    print $json->encode({ step => $name, seen => $step->() }), "\n";
}
