"""SQLAlchemy with psycopg2: Alembic's migrations, the ORM's unit of work, eager loading, savepoints, threads."""
import datetime
import decimal
import uuid

import alembic
import alembic.command
import alembic.config
import alembic.script
import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects import postgresql as pg

import observing

Base = orm.declarative_base()


class Customer(Base):
    __tablename__ = "customers"
    id = sa.Column(sa.BigInteger, sa.Identity(), primary_key=True)
    name = sa.Column(sa.String(100), nullable=False, unique=True)
    visits = sa.Column(sa.Integer, nullable=False, server_default="0")
    orders = orm.relationship("Order", back_populates="customer", cascade="all, delete-orphan")


class Order(Base):
    __tablename__ = "orders"
    id = sa.Column(sa.BigInteger, sa.Identity(), primary_key=True)
    customer_id = sa.Column(sa.ForeignKey("customers.id", ondelete="CASCADE"), nullable=False)
    quantity = sa.Column(sa.Integer, nullable=False)
    note = sa.Column(sa.Text)
    status = sa.Column(sa.Text, nullable=False, server_default="new")
    customer = orm.relationship(Customer, back_populates="orders")


class Sample(Base):
    __tablename__ = "samples"
    id = sa.Column(sa.Integer, primary_key=True)
    big = sa.Column(sa.BigInteger)
    ratio = sa.Column(sa.Float)
    amount = sa.Column(sa.Numeric(20, 6))
    label = sa.Column(sa.Text)
    flag = sa.Column(sa.Boolean)
    at = sa.Column(sa.DateTime(timezone=True))
    day = sa.Column(sa.Date)
    took = sa.Column(sa.Interval)
    token = sa.Column(pg.UUID(as_uuid=True))
    doc = sa.Column(pg.JSONB)
    words = sa.Column(pg.ARRAY(sa.Text))
    numbers = sa.Column(pg.ARRAY(sa.Integer))
    data = sa.Column(sa.LargeBinary)
    kind = sa.Column(sa.Enum("big", "small", name="sample_kind"))


where = observing.target()
url = sa.engine.URL.create(
    "postgresql+psycopg2",
    username=where["user"],
    password=where["password"],
    host=where["host"],
    port=where["port"],
    database=where["database"],
)
engine = sa.create_engine(url, pool_size=20, future=True)
Session = orm.sessionmaker(engine, future=True)


def migrate():
    config = alembic.config.Config(attributes={})
    config.set_main_option("script_location", "alembic_shop")
    seen = []
    with engine.connect() as connection:
        config.attributes["connection"] = connection
        for command, to in (("upgrade", "head"), ("downgrade", "0001"), ("downgrade", "base"), ("upgrade", "head")):
            getattr(alembic.command, command)(config, to)
            names = sorted(sa.inspect(connection).get_table_names())
            connection.commit()
            seen.append(names)
        columns = [c["name"] for c in sa.inspect(connection).get_columns("orders")]
        indexes = [i["name"] for i in sa.inspect(connection).get_indexes("orders")]
        connection.commit()
    return [seen, columns, indexes]


def crud():
    with Session() as session:
        ann = Customer(name="Ann", orders=[Order(quantity=3, note="naïve \"quotes\" ' \\ €")])
        bob = Customer(name="Bob", visits=2)
        session.add_all([ann, bob])
        session.commit()
        ann.visits = Customer.visits + 4
        ann.orders[0].status = "packed"
        session.delete(bob)
        session.commit()
        order = session.get(Order, ann.orders[0].id)
        names = session.scalars(sa.select(Customer.name)).all()
        return [ann.id, ann.visits, order.status, order.note, names]


def bulk():
    with Session.begin() as session:
        many = [{"name": f"many {n}", "visits": n} for n in range(300)]
        made = session.execute(sa.insert(Customer).returning(Customer.id).values(many)).all()
        session.bulk_insert_mappings(Customer, [{"name": f"more {n}"} for n in range(300)])
        changed = session.execute(
            sa.update(Customer).where(Customer.name.like("many%")).values(visits=Customer.visits + 1),
            execution_options={"synchronize_session": False},
        )
        count = sa.select(sa.func.count(), sa.func.sum(Customer.visits))
        page = sa.select(Customer.name).order_by(Customer.visits.desc(), Customer.id).limit(3).offset(10)
        return [len(made), changed.rowcount, list(session.execute(count).one()), session.scalars(page).all()]


def upsert():
    seen = []
    for visits in (5, 6):
        with Session.begin() as session:
            row = pg.insert(Customer).values(name="Ann", visits=visits)
            merge = row.on_conflict_do_update(
                index_elements=[Customer.name], set_={"visits": row.excluded.visits + 1}
            )
            seen.append(session.execute(merge.returning(Customer.id, Customer.visits)).one()._asdict())
    return seen


def transactions():
    def add(give_up):
        with Session.begin() as session:
            session.connection(execution_options={"isolation_level": "SERIALIZABLE"})
            session.add(Customer(name=f"in a transaction {give_up}"))
            session.flush()
            level = session.scalar(sa.text("SHOW transaction_isolation"))
            if give_up:
                raise ValueError(f"given up, {level}")

    add(False)
    try:
        add(True)
    except ValueError as error:
        end = str(error)
    with Session() as session:
        found = sa.select(Customer.name).where(Customer.name.like("in a%"))
        level = session.scalar(sa.text("SHOW transaction_isolation"))
        return [end, session.scalars(found).all(), level]


def nested():
    with Session.begin() as session:
        ann = session.scalars(sa.select(Customer).filter_by(name="Ann")).one()
        ann.visits = 10
        session.flush()

        def trouble():
            with session.begin_nested():
                ann.visits = 11
                session.flush()
                session.execute(sa.text("SELECT 1 / :zero"), {"zero": 0})

        error = observing.error_of(trouble)
        with session.begin_nested():
            ann.visits += 1
    with Session() as session:
        return [error, session.scalars(sa.select(Customer.visits).filter_by(name="Ann")).one()]


def fail():
    def attempt(*things):
        def work():
            with Session.begin() as session:
                for thing in things:
                    session.add(thing) if isinstance(thing, Base) else session.execute(thing)

        return observing.error_of(work)

    return [
        attempt(Customer(name="Ann")),
        attempt(Order(customer_id=1, quantity=0)),
        attempt(Order(customer_id=0, quantity=1)),
        attempt(sa.text("SELECT nothing FROM orders")),
    ]


def relate():
    with Session.begin() as session:
        ann = session.scalars(sa.select(Customer).filter_by(name="Ann")).one()
        ann.orders += [Order(quantity=n) for n in (1, 2)]
    seen = []
    for load in (orm.joinedload, orm.selectinload, orm.subqueryload):
        with Session() as session:
            query = sa.select(Customer).join(Order).options(load(Customer.orders)).distinct()
            found = session.scalars(query).unique().all()
            seen.append([[c.name, sorted(o.quantity for o in c.orders)] for c in found])
    with Session() as session:
        orders = sa.select(Order).options(orm.joinedload(Order.customer)).order_by(Order.id)
        seen.append([[o.customer.name, o.quantity] for o in session.scalars(orders)])
    return seen


def raw():
    with engine.connect() as connection:
        query = sa.text("SELECT name, visits * :by AS score, CAST(:doc AS jsonb) FROM customers WHERE name = :name")
        found = connection.execute(query, {"by": 2, "name": "Ann", "doc": '{"a": 1}'}).mappings().all()
        stream = connection.execution_options(stream_results=True, yield_per=100)
        pages = [len(page) for page in stream.execute(sa.text("SELECT * FROM customers")).partitions()]
        return [[dict(row) for row in found], pages]


def types():
    values = {
        "big": 2**63 - 1,
        "ratio": 0.1,
        "amount": decimal.Decimal("12345678901234.567891"),
        "label": "naïve € \n \t",
        "flag": True,
        "at": datetime.datetime(2024, 2, 29, 12, 34, 56, 789012, datetime.timezone.utc),
        "day": datetime.date(1999, 12, 31),
        "took": datetime.timedelta(days=3, microseconds=5),
        "token": uuid.UUID("9b2fdc7c-0f9d-4f7b-8e1a-0a2a5b9f3c11"),
        "doc": {"nested": [1, "two", None], "text": 'a"b'},
        "words": ["one", "with, comma", 'quote"d', ""],
        "numbers": [1, -2, 3],
        "data": bytes([0, 1, 92, 39, 255]),
        "kind": "small",
    }
    with Session.begin() as session:
        session.add_all([Sample(id=1, **values), Sample(id=2)])
    with Session() as session:
        session.execute(sa.text("SET LOCAL timezone = 'Asia/Kathmandu'"))
        rows = session.execute(sa.select(Sample.__table__).order_by(Sample.id)).mappings().all()
        where = (Sample.doc["text"].astext == 'a"b') & Sample.numbers.contains([-2])
        found = session.scalars(sa.select(Sample.id).where(where)).all()
        shown = [{k: bytes(v) if k == "data" and v else v for k, v in row.items()} for row in rows]
        return [shown, found]


def crowd():
    def raise_one():
        with Session.begin() as session:
            query = sa.select(Customer).filter_by(name="Ann").with_for_update()
            ann = session.scalars(query).one()
            ann.visits += 1
            return ann.visits

    return observing.crowd(raise_one)


def reconnect():
    seen = []
    for _ in range(5):
        engine.dispose()
        with Session() as session:
            seen.append(session.scalar(sa.select(Customer.visits).filter_by(name="Ann")))
    return seen


def version():
    import psycopg2

    driver = psycopg2.__version__.split()[0]
    return f"{sa.__version__} (Alembic {alembic.__version__}, psycopg2 {driver})"


observing.run(
    {
        "version": version,
        "migrate": migrate,
        "crud": crud,
        "bulk": bulk,
        "upsert": upsert,
        "transactions": transactions,
        "nested": nested,
        "fail": fail,
        "relate": relate,
        "raw": raw,
        "types": types,
        "crowd": crowd,
        "reconnect": reconnect,
    }
)
