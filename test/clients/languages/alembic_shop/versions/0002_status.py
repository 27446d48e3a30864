"""A column with an index that is made outside of a transaction."""
import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade():
    op.add_column("orders", sa.Column("status", sa.Text, nullable=False, server_default="new"))
    with op.get_context().autocommit_block():
        op.create_index("orders_status", "orders", ["status"], postgresql_concurrently=True)


def downgrade():
    op.drop_index("orders_status")
    op.drop_column("orders", "status")
