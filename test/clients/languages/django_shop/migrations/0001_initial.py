"""The tables, as makemigrations writes them."""
import django.contrib.postgres.fields
from django.db import migrations, models
import django.db.models.deletion
import uuid


class Migration(migrations.Migration):

    initial = True

    dependencies = [
    ]

    operations = [
        migrations.CreateModel(
            name='Customer',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('name', models.CharField(max_length=100, unique=True)),
                ('visits', models.IntegerField(default=0)),
            ],
        ),
        migrations.CreateModel(
            name='Sample',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('big', models.BigIntegerField(null=True)),
                ('ratio', models.FloatField(null=True)),
                ('amount', models.DecimalField(decimal_places=6, max_digits=20, null=True)),
                ('label', models.TextField(null=True)),
                ('flag', models.BooleanField(null=True)),
                ('at', models.DateTimeField(null=True)),
                ('day', models.DateField(null=True)),
                ('took', models.DurationField(null=True)),
                ('token', models.UUIDField(default=uuid.uuid4, null=True)),
                ('doc', models.JSONField(null=True)),
                ('words', django.contrib.postgres.fields.ArrayField(base_field=models.TextField(), null=True, size=None)),
                ('numbers', django.contrib.postgres.fields.ArrayField(base_field=models.IntegerField(), null=True, size=None)),
                ('data', models.BinaryField(null=True)),
            ],
        ),
        migrations.CreateModel(
            name='Order',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('quantity', models.IntegerField()),
                ('note', models.TextField(null=True)),
                ('customer', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='orders', to='django_shop.customer')),
            ],
        ),
    ]
