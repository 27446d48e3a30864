"""The tables."""
import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql as pg

revision = "0001"
down_revision = None


def upgrade():
    op.create_table(
        "customers",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("name", sa.String(100), nullable=False, unique=True),
        sa.Column("visits", sa.Integer, nullable=False, server_default="0"),
    )
    op.create_table(
        "orders",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("customer_id", sa.BigInteger, sa.ForeignKey("customers.id", ondelete="CASCADE"), nullable=False),
        sa.Column("quantity", sa.Integer, sa.CheckConstraint("quantity > 0"), nullable=False),
        sa.Column("note", sa.Text),
    )
    op.create_table(
        "samples",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("big", sa.BigInteger),
        sa.Column("ratio", sa.Float),
        sa.Column("amount", sa.Numeric(20, 6)),
        sa.Column("label", sa.Text),
        sa.Column("flag", sa.Boolean),
        sa.Column("at", sa.DateTime(timezone=True)),
        sa.Column("day", sa.Date),
        sa.Column("took", sa.Interval),
        sa.Column("token", pg.UUID(as_uuid=True)),
        sa.Column("doc", pg.JSONB),
        sa.Column("words", pg.ARRAY(sa.Text)),
        sa.Column("numbers", pg.ARRAY(sa.Integer)),
        sa.Column("data", sa.LargeBinary),
        sa.Column("kind", sa.Enum("big", "small", name="sample_kind")),
    )


def downgrade():
    for name in ("samples", "orders", "customers"):
        op.drop_table(name)
    op.execute("DROP TYPE sample_kind")
