-- AlterTable
ALTER TABLE "orders" ADD COLUMN     "status" TEXT NOT NULL DEFAULT 'new';

-- CreateIndex
CREATE INDEX "orders_by_status" ON "orders"("tenant_id", "status");
