"""A Django application with two models and two migrations, used by ../django_orm.py."""
