"""The models: customers with orders, and a row of many types."""
import uuid

from django.contrib.postgres.fields import ArrayField
from django.db import models


class Customer(models.Model):
    name = models.CharField(max_length=100, unique=True)
    visits = models.IntegerField(default=0)


class Order(models.Model):
    customer = models.ForeignKey(Customer, related_name="orders", on_delete=models.CASCADE)
    quantity = models.IntegerField()
    note = models.TextField(null=True)
    status = models.CharField(max_length=10, default="new")

    class Meta:
        constraints = [models.CheckConstraint(check=models.Q(quantity__gt=0), name="positive")]


class Sample(models.Model):
    big = models.BigIntegerField(null=True)
    ratio = models.FloatField(null=True)
    amount = models.DecimalField(max_digits=20, decimal_places=6, null=True)
    label = models.TextField(null=True)
    flag = models.BooleanField(null=True)
    at = models.DateTimeField(null=True)
    day = models.DateField(null=True)
    took = models.DurationField(null=True)
    token = models.UUIDField(default=uuid.uuid4, null=True)
    doc = models.JSONField(null=True)
    words = ArrayField(models.TextField(), null=True)
    numbers = ArrayField(models.IntegerField(), null=True)
    data = models.BinaryField(null=True)
