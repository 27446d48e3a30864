# ActiveRecord with the pg gem: its migrations under a session advisory lock, prepared statements of its own, eager
# loading, nested transactions, threads. One line of JSON per step on standard output.
require 'active_record'
require 'json'

$stdout.sync = true
ActiveRecord::Base.default_timezone = :utc
where = {
  adapter: 'postgresql', host: ENV['PGHOST'], port: ENV['PGPORT'], username: ENV['PGUSER'],
  password: ENV['PGPASSWORD'], database: ENV['PGDATABASE'], pool: 20, checkout_timeout: 60,
  variables: { statement_timeout: '50s' }
}
ActiveRecord::Base.establish_connection(where)
ActiveRecord::Migration.verbose = false

# The tables.
class CreateTables < ActiveRecord::Migration[6.1]
  def change
    create_table(:customers) do |t|
      t.string :name, null: false, index: { unique: true }
      t.integer :visits, null: false, default: 0
      t.integer :lock_version, null: false, default: 0
      t.timestamps
    end
    create_table(:orders) do |t|
      t.references :customer, null: false, foreign_key: { on_delete: :cascade }
      t.integer :quantity, null: false
      t.text :note
      t.check_constraint 'quantity > 0', name: 'positive'
    end
    create_table(:samples) do |t|
      t.bigint :big
      t.float :ratio
      t.decimal :amount, precision: 20, scale: 6
      t.text :label
      t.boolean :flag
      t.column :at, :timestamptz
      t.date :day
      t.uuid :token
      t.jsonb :doc
      t.text :words, array: true
      t.integer :numbers, array: true
      t.binary :data
      t.int4range :span
    end
  end
end

# A column, and an index that is made outside of a transaction.
class AddStatus < ActiveRecord::Migration[6.1]
  disable_ddl_transaction!

  def change
    add_column :orders, :status, :string, null: false, default: 'new'
    add_index :orders, :status, algorithm: :concurrently
  end
end

class Customer < ActiveRecord::Base
  has_many :orders, -> { order(:id) }
  validates :name, presence: true
end

class Order < ActiveRecord::Base
  belongs_to :customer
  enum status: { new: 'new', packed: 'packed' }, _prefix: true
end

class Sample < ActiveRecord::Base; end

def error_of
  yield
  raise 'an error was expected'
rescue ActiveRecord::StatementInvalid => e
  result = e.cause.result
  [e.class.name, result.error_field(PG::Result::PG_DIAG_SQLSTATE),
   result.error_field(PG::Result::PG_DIAG_MESSAGE_PRIMARY)]
end

def connection = ActiveRecord::Base.connection

steps = {}

steps[:version] = -> { "#{ActiveRecord::VERSION::STRING} (pg #{PG::VERSION})" }

steps[:migrate] = lambda do
  proxies = [[CreateTables, 1], [AddStatus, 2]].map do |migration, version|
    ActiveRecord::MigrationProxy.new(migration.name, version, nil, nil).tap do |proxy|
      instance = migration.new(migration.name, version)
      proxy.define_singleton_method(:migration) { instance }
    end
  end
  move = lambda do |direction, to|
    ActiveRecord::Migrator.new(direction, proxies, ActiveRecord::SchemaMigration, to).migrate
    connection.tables.sort
  end
  seen = [move.(:up, nil), move.(:down, 1), move.(:down, 0), move.(:up, nil)]
  Customer.reset_column_information
  Order.reset_column_information
  # The session advisory lock keeps the connection on one server: an application migrates in a process of its own.
  ActiveRecord::Base.connection_pool.disconnect!
  [seen, ActiveRecord::SchemaMigration.all_versions, connection.columns('orders').map(&:name),
   connection.indexes('orders').map(&:name)]
end

steps[:crud] = lambda do
  ann = Customer.create!(name: 'Ann')
  bob = Customer.find_or_create_by!(name: 'Bob') { |c| c.visits = 2 }
  order = ann.orders.create!(quantity: 3, note: "naïve \"quotes\" ' \\ €")
  order.increment!(:quantity, 4)
  order.status_packed!
  stale = Customer.find(ann.id)
  ann.update!(visits: 1)
  conflict = begin
    stale.update!(visits: 2)
  rescue ActiveRecord::StaleObjectError => e
    e.message
  end
  bob.destroy!
  changed = Order.where(customer: ann).update_all('quantity = quantity + 1')
  [ann.id, bob.id, order.reload.attributes, conflict, changed, Customer.order(:id).pluck(:name, :visits)]
end

steps[:bulk] = lambda do
  now = Time.utc(2024)
  rows = (0...300).map { |n| { name: "many #{n}", visits: n, created_at: now, updated_at: now } }
  made = Customer.insert_all!(rows, returning: %w[id name])
  changed = Customer.where('name LIKE ?', 'many%').update_all('visits = visits + 1')
  seen = []
  Customer.in_batches(of: 100) { |batch| seen << batch.pluck(:id).size }
  [made.rows.size, changed, seen, Customer.sum(:visits), Customer.group('visits % 3').count.sort.to_h]
end

steps[:upsert] = lambda do
  now = Time.utc(2024)
  rows = [5, 6].map do |visits|
    row = { name: 'Ann', visits: visits, created_at: now, updated_at: now }
    Customer.upsert_all([row], unique_by: :name, returning: %w[id name visits]).rows
  end
  [rows, Customer.find_by(name: 'Ann').visits]
end

steps[:transactions] = lambda do
  Customer.transaction(isolation: :serializable) do
    Customer.create!(name: 'committed')
    @level = connection.select_value('SHOW transaction_isolation')
  end
  Customer.transaction do
    Customer.create!(name: 'taken back')
    raise ActiveRecord::Rollback
  end
  [@level, Customer.where(name: ['committed', 'taken back']).pluck(:name)]
end

steps[:nested] = lambda do
  error = nil
  Customer.transaction do
    ann = Customer.find_by!(name: 'Ann')
    ann.update!(visits: 10)
    error = error_of do
      Customer.transaction(requires_new: true) do
        ann.update_columns(visits: 11)
        connection.execute('SELECT 1 / 0')
      end
    end
    Customer.transaction(requires_new: true) { Customer.where(name: 'Ann').update_all('visits = visits + 1') }
  end
  [error, Customer.find_by(name: 'Ann').visits]
end

steps[:fail] = lambda do
  [error_of { Customer.create!(name: 'Ann') },
   error_of { Order.insert({ customer_id: 1, quantity: 0 }) },
   error_of { Order.insert({ customer_id: 0, quantity: 1 }) },
   error_of { Order.where('nothing = 1').to_a }]
end

steps[:relate] = lambda do
  ann = Customer.find_by!(name: 'Ann')
  [1, 2].each { |n| ann.orders.create!(quantity: n) }
  loads = %i[includes preload eager_load].map do |load|
    Customer.joins(:orders).distinct.public_send(load, :orders).map { |c| [c.name, c.orders.map(&:quantity).sort] }
  end
  joined = Order.joins(:customer).order('orders.id').pluck('customers.name', :quantity)
  [loads, joined, Customer.left_joins(:orders).group(:name).having('count(orders.id) > 0').count('orders.id')]
end

steps[:raw] = lambda do
  query = 'SELECT name, visits * ? AS score FROM customers WHERE name = ?'
  found = Customer.find_by_sql([query, 2, 'Ann']).map(&:attributes)
  binds = [ActiveRecord::Relation::QueryAttribute.new('n', 7, ActiveRecord::Type::Integer.new)]
  result = connection.exec_query('SELECT $1::int + 1 AS n, \'{"a": 1}\'::jsonb AS doc', 'mine', binds)
  [found, result.to_a, connection.select_rows('SELECT 1, NULL, true')]
end

steps[:types] = lambda do
  values = {
    big: 2**63 - 1, ratio: 0.1, amount: BigDecimal('12345678901234.567891'), label: "naïve € \n \t", flag: true,
    at: Time.utc(2024, 2, 29, 12, 34, 56.789r), day: Date.new(1999, 12, 31),
    token: '9b2fdc7c-0f9d-4f7b-8e1a-0a2a5b9f3c11', doc: { nested: [1, 'two', nil], text: 'a"b' },
    words: ['one', 'with, comma', 'quote"d', ''], numbers: [1, -2, 3], data: "\x00\x01\\'\xFF".b, span: 1..5
  }
  Sample.create!(values)
  Sample.create!
  rows = Sample.order(:id).map do |row|
    row.attributes.to_h { |name, value| [name, name == 'data' ? value&.unpack1('H*') : value.inspect] }
  end
  [rows, Sample.where("doc ->> 'text' = ?", 'a"b').where('numbers @> ARRAY[?]', [-2]).count]
end

steps[:crowd] = lambda do
  threads = Array.new(20) do
    Thread.new do
      ActiveRecord::Base.connection_pool.with_connection do
        Customer.transaction do
          ann = Customer.lock.find_by!(name: 'Ann')
          ann.update!(visits: ann.visits + 1)
          ann.visits
        end
      end
    end
  end
  threads.map(&:value).sort
end

steps[:reconnect] = lambda do
  seen = Array.new(5) do
    connection.reconnect!
    [Customer.find_by(name: 'Ann').visits, Customer.where(id: 1).pick(:name)]
  end
  connection.add_column :customers, :late, :string, default: 'late'
  Customer.reset_column_information
  [seen, Customer.find_by(name: 'Ann').late, connection.select_value('SHOW statement_timeout')]
end

steps[:lock] = lambda do
  other = PG.connect(host: ENV['PGHOST'], port: ENV['PGPORT'], user: ENV['PGUSER'], password: ENV['PGPASSWORD'],
                     dbname: ENV['PGDATABASE'])
  got = [connection.get_advisory_lock(42), other.exec('SELECT pg_try_advisory_lock(42)').getvalue(0, 0)]
  got << connection.release_advisory_lock(42) << other.exec('SELECT pg_try_advisory_lock(42)').getvalue(0, 0)
  other.close
  ActiveRecord::Base.connection_pool.disconnect!
  got
end

steps.each do |name, step|
  puts JSON.generate(step: name, seen: step.call)
end
