"""Django with psycopg2: its migrations (its own applications' too), the ORM, nested transactions, threads."""
import datetime
import decimal
import io
import uuid

import django
from django.conf import settings

import observing

where = observing.target()
settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": where["database"],
            "USER": where["user"],
            "PASSWORD": where["password"],
            "HOST": where["host"],
            "PORT": where["port"],
            "CONN_MAX_AGE": None,
        }
    },
    INSTALLED_APPS=[
        "django.contrib.contenttypes",
        "django.contrib.auth",
        "django.contrib.sessions",
        "django_shop",
    ],
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
    TIME_ZONE="Asia/Kathmandu",
)
django.setup()

from django.contrib.auth.models import Group, Permission  # noqa: E402
from django.core.management import call_command  # noqa: E402
from django.db import connection, transaction  # noqa: E402
from django.db.models import Count, F, Prefetch, Sum  # noqa: E402
from django_shop.models import Customer, Order, Sample  # noqa: E402


def migrate():
    call_command("makemigrations", "django_shop", check=True, dry_run=True, verbosity=0)
    said = []
    for argv in (["migrate"], ["migrate", "django_shop", "0001"], ["migrate", "django_shop", "zero"], ["migrate"]):
        out = io.StringIO()
        call_command(*argv, stdout=out, no_color=True)
        said.append(out.getvalue().splitlines())
    return [said, sorted(connection.introspection.table_names()), Permission.objects.count()]


def crud():
    ann = Customer.objects.create(name="Ann")
    bob, made = Customer.objects.get_or_create(name="Bob", defaults={"visits": 2})
    order = ann.orders.create(quantity=3, note="naïve \"quotes\" ' \\ €")
    order.quantity = F("quantity") + 4
    order.save()
    order.refresh_from_db()
    changed = Order.objects.filter(customer__name="Ann").update(status="packed")
    gone = Customer.objects.filter(name="Bob").delete()
    return [ann.pk, bob.pk, made, order.quantity, order.note, changed, gone, list(Customer.objects.values())]


def bulk():
    made = Customer.objects.bulk_create([Customer(name=f"many {n}", visits=n) for n in range(300)])
    for customer in made:
        customer.visits += 1
    Customer.objects.bulk_update(made, ["visits"], batch_size=100)
    ignored = Customer.objects.bulk_create([Customer(name="many 1")], ignore_conflicts=True)
    total = Customer.objects.filter(name__startswith="many").aggregate(Count("id"), Sum("visits"))
    page = list(Customer.objects.order_by("-visits").values_list("name", flat=True)[10:13])
    return [len(made), made[0].pk is not None, len(ignored), total, page]


def upsert():
    seen = [Customer.objects.update_or_create(name="Ann", defaults={"visits": n})[1] for n in (5, 6)]
    return [seen, Customer.objects.get(name="Ann").visits]


def transactions():
    def add(give_up):
        with transaction.atomic():
            Customer.objects.create(name=f"in a transaction {give_up}")
            if give_up:
                raise ValueError("given up")

    add(False)
    try:
        add(True)
    except ValueError as error:
        end = str(error)
    return [end, list(Customer.objects.filter(name__startswith="in a").values_list("name"))]


def nested():
    with transaction.atomic():
        Customer.objects.filter(name="Ann").update(visits=10)
        def trouble():
            with transaction.atomic():
                Customer.objects.filter(name="Ann").update(visits=11)
                with connection.cursor() as cursor:
                    cursor.execute("SELECT 1 / %s", [0])
        error = observing.error_of(trouble)
        with transaction.atomic():
            Customer.objects.filter(name="Ann").update(visits=F("visits") + 1)
    return [error, Customer.objects.get(name="Ann").visits]


def fail():
    ann = Customer.objects.get(name="Ann")
    return [
        observing.error_of(lambda: Customer.objects.create(name="Ann")),
        observing.error_of(lambda: ann.orders.create(quantity=0)),
        observing.error_of(lambda: Order.objects.raw("SELECT nothing FROM django_shop_order")[0]),
        Customer.objects.count(),
    ]


def relate():
    ann = Customer.objects.get(name="Ann")
    ann.orders.bulk_create([Order(customer=ann, quantity=n) for n in (1, 2)])
    big = Prefetch("orders", Order.objects.filter(quantity__gt=1).order_by("quantity"))
    loaded = Customer.objects.filter(orders__isnull=False).distinct().prefetch_related(big)
    joined = Order.objects.select_related("customer").order_by("pk")
    group = Group.objects.create(name="staff")
    group.permissions.set(Permission.objects.order_by("pk")[:3])
    return [
        [[c.name, [o.quantity for o in c.orders.all()]] for c in loaded],
        [[o.customer.name, o.quantity] for o in joined],
        list(group.permissions.values_list("codename", flat=True)),
    ]


def raw():
    query = "SELECT id, name, visits * %s AS score FROM django_shop_customer WHERE name = %s"
    found = [[c.name, c.score] for c in Customer.objects.raw(query, [2, "Ann"])]
    with connection.cursor() as cursor:
        cursor.execute("SELECT '50%%', %s::jsonb, ARRAY[%s, %s]", ['{"a": 1}', 1, 2])
        row = cursor.fetchone()
    pages = Customer.objects.order_by("pk").values_list("name", flat=True).iterator(chunk_size=100)
    return [found, row, len(list(pages))]


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
    }
    Sample.objects.create(**values)
    Sample.objects.create(token=None)
    rows = [dict(row, data=bytes(row["data"] or b"")) for row in Sample.objects.order_by("pk").values()]
    found = Sample.objects.filter(doc__nested__0=1, numbers__contains=[-2], at__year=2024).count()
    return [rows, found, list(Sample.objects.datetimes("at", "day"))]


def crowd():
    def raise_one():
        with transaction.atomic():
            ann = Customer.objects.select_for_update().get(name="Ann")
            ann.visits += 1
            ann.save()
        connection.close()
        return ann.visits

    return observing.crowd(raise_one)


def reconnect():
    seen = []
    for _ in range(5):
        seen.append([Customer.objects.get(name="Ann").visits, Order.objects.count()])
        connection.close()
    with connection.cursor() as cursor:
        cursor.execute("SHOW timezone")
        return [seen, cursor.fetchone()]


def version():
    import psycopg2

    return f"{django.__version__} (psycopg2 {psycopg2.__version__.split()[0]})"


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
