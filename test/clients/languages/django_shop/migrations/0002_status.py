"""A column, a constraint, and a change of data in Python."""
from django.db import migrations, models


def give_status(apps, _schema_editor):
    apps.get_model("django_shop", "Order").objects.filter(note=None).update(status="old")


class Migration(migrations.Migration):

    dependencies = [("django_shop", "0001_initial")]

    operations = [
        migrations.AddField("order", "status", models.CharField(default="new", max_length=10)),
        migrations.AddConstraint(
            "order", models.CheckConstraint(check=models.Q(("quantity__gt", 0)), name="positive")
        ),
        migrations.RunPython(give_status, migrations.RunPython.noop),
    ]
