#include "cart/cart_store.h"

#include <mongoc/mongoc.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <chrono>
#include <cstring>
#include <mutex>
#include <stdexcept>
#include <utility>

#include "common/core/result.h"
#include "common/telemetry/log.h"

namespace shop::cart {
namespace {

constexpr char kCollection[] = "carts";
// How often a change that reads first starts again.
constexpr int kAttempts = 20;
constexpr size_t kMostTaken = 50;
constexpr int64_t kTakenMs = 30LL * 24 * 60 * 60 * 1000;

// Time-outs of a connection, in milliseconds.
struct Limits {
  int32_t server_selection;
  int32_t connect;
  int32_t socket;
};
constexpr Limits kOfCalls{.server_selection = 2000, .connect = 2000, .socket = 5000};
// Shorter, as a stopping process waits for the ping in progress.
constexpr Limits kOfPings{.server_selection = 1000, .connect = 1000, .socket = 2000};

struct Destroy {
  void operator()(mongoc_uri_t* object) const { mongoc_uri_destroy(object); }
  void operator()(mongoc_client_pool_t* object) const { mongoc_client_pool_destroy(object); }
  void operator()(mongoc_collection_t* object) const { mongoc_collection_destroy(object); }
  void operator()(mongoc_cursor_t* object) const { mongoc_cursor_destroy(object); }
  void operator()(mongoc_find_and_modify_opts_t* object) const {
    mongoc_find_and_modify_opts_destroy(object);
  }
};

using Uri = std::unique_ptr<mongoc_uri_t, Destroy>;
using ClientPool = std::unique_ptr<mongoc_client_pool_t, Destroy>;
using Collection = std::unique_ptr<mongoc_collection_t, Destroy>;
using Cursor = std::unique_ptr<mongoc_cursor_t, Destroy>;
using FindAndModifyOpts = std::unique_ptr<mongoc_find_and_modify_opts_t, Destroy>;

// bson_t is declared with an alignment that a unique_ptr's type would lose.
class Bson {
 public:
  explicit Bson(bson_t* document) : document_(document) {}
  Bson(Bson&& other) noexcept : document_(std::exchange(other.document_, nullptr)) {}
  ~Bson() {
    if (document_ != nullptr) bson_destroy(document_);
  }
  Bson(const Bson&) = delete;
  Bson& operator=(const Bson&) = delete;

  const bson_t* get() const { return document_; }
  bson_t* get() { return document_; }

 private:
  bson_t* document_;
};

void LogDriverLine(mongoc_log_level_t level, const char* domain, const char* message, void*) {
  if (level <= MONGOC_LOG_LEVEL_WARNING) {
    log::Warning("mongoc", {{"domain", domain}, {"message", message}});
  }
}

void InitDriver() {
  static std::once_flag once;
  std::call_once(once, [] {
    mongoc_init();
    mongoc_log_set_handler(LogDriverLine, nullptr);
  });
}

// Whether a later retry can succeed: no server, no connection, or a server that changes its role.
bool IsAway(const bson_error_t& error) {
  switch (error.domain) {
    case MONGOC_ERROR_STREAM:
    case MONGOC_ERROR_SERVER_SELECTION:
    case MONGOC_ERROR_POOL:
    case MONGOC_ERROR_WRITE_CONCERN:
      return true;
    case MONGOC_ERROR_SERVER: {
      // HostUnreachable, HostNotFound, MaxTimeMSExpired, NetworkTimeout, ShutdownInProgress,
      // PrimarySteppedDown, SocketException, NotWritablePrimary, InterruptedAtShutdown,
      // InterruptedDueToReplStateChange, NotPrimaryNoSecondaryOk, NotPrimaryOrSecondary.
      constexpr std::array<uint32_t, 12> kPassing{6,    7,     50,    89,    91,    189,
                                                  9001, 10107, 11600, 11602, 13435, 13436};
      return std::find(kPassing.begin(), kPassing.end(), error.code) != kPassing.end();
    }
    default:
      return false;
  }
}

[[noreturn]] void Throw(const bson_error_t& error) {
  const std::string what = std::string("MongoDB: ") + error.message;
  if (IsAway(error)) throw Unavailable(what);
  throw std::runtime_error(what);
}

// A client of the pool, for one operation.
class Client {
 public:
  explicit Client(mongoc_client_pool_t* pool) : pool_(pool), client_(mongoc_client_pool_pop(pool)) {
    if (client_ == nullptr) throw Unavailable("MongoDB: no connection is free");
  }
  ~Client() { mongoc_client_pool_push(pool_, client_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  mongoc_client_t* get() const { return client_; }

 private:
  mongoc_client_pool_t* pool_;
  mongoc_client_t* client_;
};

// items.<productId> or a field of it.
std::string ItemPath(int64_t product_id, const char* field = "") {
  std::string path = "items." + std::to_string(product_id);
  if (*field != '\0') path.append(".").append(field);
  return path;
}

int64_t NowMs() {
  return std::chrono::duration_cast<std::chrono::milliseconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

Line ReadLine(int64_t product_id, bson_iter_t& fields) {
  Line line;
  line.product_id = product_id;
  while (bson_iter_next(&fields)) {
    const char* key = bson_iter_key(&fields);
    if (std::strcmp(key, "quantity") == 0) line.quantity = bson_iter_as_int64(&fields);
    if (std::strcmp(key, "unitPrice") == 0) line.unit_price = bson_iter_as_int64(&fields);
    if (std::strcmp(key, "addedAt") == 0) line.added_at_ms = bson_iter_date_time(&fields);
    if (std::strcmp(key, "name") == 0 && BSON_ITER_HOLDS_UTF8(&fields)) {
      uint32_t length = 0;
      const char* text = bson_iter_utf8(&fields, &length);
      line.name.assign(text, length);
    }
  }
  return line;
}

std::vector<Line> ReadLines(const bson_iter_t& document) {
  std::vector<Line> lines;
  bson_iter_t items;
  if (!bson_iter_recurse(&document, &items)) return lines;
  while (bson_iter_next(&items)) {
    const std::string id = bson_iter_key(&items);
    int64_t product_id = 0;
    bson_iter_t item;
    if (std::from_chars(id.data(), id.data() + id.size(), product_id).ec == std::errc() &&
        bson_iter_recurse(&items, &item)) {
      lines.push_back(ReadLine(product_id, item));
    }
  }
  return lines;
}

Taken ReadTaken(bson_iter_t& fields) {
  Taken taken;
  while (bson_iter_next(&fields)) {
    const char* key = bson_iter_key(&fields);
    if (std::strcmp(key, "order") == 0 && BSON_ITER_HOLDS_UTF8(&fields)) {
      taken.order_uuid = bson_iter_utf8(&fields, nullptr);
    }
    if (std::strcmp(key, "version") == 0) taken.version = bson_iter_as_int64(&fields);
    if (std::strcmp(key, "at") == 0) taken.at_ms = bson_iter_date_time(&fields);
    if (std::strcmp(key, "putBack") == 0) taken.put_back = bson_iter_as_bool(&fields);
    if (std::strcmp(key, "items") == 0) taken.lines = ReadLines(fields);
  }
  return taken;
}

StoredCart ReadCart(bson_iter_t& fields) {
  StoredCart cart;
  while (bson_iter_next(&fields)) {
    const char* key = bson_iter_key(&fields);
    if (std::strcmp(key, "_id") == 0) cart.user_id = bson_iter_as_int64(&fields);
    if (std::strcmp(key, "version") == 0) cart.version = bson_iter_as_int64(&fields);
    if (std::strcmp(key, "updatedAt") == 0) cart.updated_at_ms = bson_iter_date_time(&fields);
    if (std::strcmp(key, "changeId") == 0 && BSON_ITER_HOLDS_UTF8(&fields)) {
      cart.change_id = bson_iter_utf8(&fields, nullptr);
    }
    if (std::strcmp(key, "items") == 0) cart.lines = ReadLines(fields);
    bson_iter_t entries;
    if (std::strcmp(key, "taken") != 0 || !bson_iter_recurse(&fields, &entries)) continue;
    while (bson_iter_next(&entries)) {
      bson_iter_t entry;
      if (bson_iter_recurse(&entries, &entry)) cart.taken.push_back(ReadTaken(entry));
    }
  }
  std::sort(cart.lines.begin(), cart.lines.end(), [](const Line& a, const Line& b) {
    return std::pair(a.added_at_ms, a.product_id) < std::pair(b.added_at_ms, b.product_id);
  });
  return cart;
}

// Unique also after a restore from a backup, which may repeat a `version`.
std::string NewChangeId() {
  bson_oid_t id;
  bson_oid_init(&id, nullptr);
  std::array<char, 25> text;
  bson_oid_to_string(&id, text.data());
  return text.data();
}

void AppendLines(bson_t* document, const std::vector<Line>& lines) {
  bson_t items;
  bson_append_document_begin(document, "items", -1, &items);
  for (const Line& line : lines) {
    bson_t item;
    const std::string id = std::to_string(line.product_id);
    bson_append_document_begin(&items, id.c_str(), -1, &item);
    bson_append_int64(&item, "quantity", -1, line.quantity);
    bson_append_utf8(&item, "name", -1, line.name.data(), static_cast<int>(line.name.size()));
    bson_append_int64(&item, "unitPrice", -1, line.unit_price);
    bson_append_date_time(&item, "addedAt", -1, line.added_at_ms);
    bson_append_document_end(&items, &item);
  }
  bson_append_document_end(document, &items);
}

// The update that writes `cart` to the document, as its next version.
Bson Replacing(const StoredCart& cart) {
  Bson update(bson_new());
  bson_t set;
  bson_append_document_begin(update.get(), "$set", -1, &set);
  bson_append_int64(&set, "version", -1, cart.version + 1);
  bson_append_utf8(&set, "changeId", -1, NewChangeId().c_str(), -1);
  bson_append_int64(&set, "lineCount", -1, std::ssize(cart.lines));
  bson_append_date_time(&set, "updatedAt", -1, NowMs());
  AppendLines(&set, cart.lines);
  bson_t taken;
  bson_append_array_begin(&set, "taken", -1, &taken);
  for (size_t i = 0; i < cart.taken.size(); ++i) {
    const Taken& one = cart.taken[i];
    bson_t entry;
    bson_append_document_begin(&taken, std::to_string(i).c_str(), -1, &entry);
    bson_append_utf8(&entry, "order", -1, one.order_uuid.c_str(), -1);
    bson_append_int64(&entry, "version", -1, one.version);
    bson_append_date_time(&entry, "at", -1, one.at_ms);
    bson_append_bool(&entry, "putBack", -1, one.put_back);
    AppendLines(&entry, one.lines);
    bson_append_document_end(&taken, &entry);
  }
  bson_append_array_end(&set, &taken);
  bson_append_document_end(update.get(), &set);
  return update;
}

void Remember(StoredCart* cart, Taken taken) {
  taken.at_ms = NowMs();
  std::erase_if(cart->taken, [&](const Taken& old) { return old.at_ms < taken.at_ms - kTakenMs; });
  if (cart->taken.size() >= kMostTaken) cart->taken.erase(cart->taken.begin());
  cart->taken.push_back(std::move(taken));
}

}  // namespace

MongoSettings MongoSettings::Read(Env& env) {
  InitDriver();
  MongoSettings settings{env.Secret("MONGODB_URI").value_or("mongodb://127.0.0.1:27017"), "cart"};
  const Uri uri(mongoc_uri_new(settings.uri.c_str()));
  if (uri == nullptr) {
    env.Wrong("MONGODB_URI", "is not a URI such as mongodb://127.0.0.1:27017");
  } else if (const char* database = mongoc_uri_get_database(uri.get()); database != nullptr) {
    settings.database = database;
  }
  return settings;
}

const Line* StoredCart::Find(int64_t product_id) const {
  const auto found = std::find_if(lines.begin(), lines.end(),
                                  [&](const Line& line) { return line.product_id == product_id; });
  return found == lines.end() ? nullptr : &*found;
}

struct CartStore::State {
  explicit State(const MongoSettings& settings)
      : database(settings.database),
        pool(NewPool(settings, kOfCalls)),
        pings(NewPool(settings, kOfPings)) {}

  static ClientPool NewPool(const MongoSettings& settings, const Limits& limits) {
    InitDriver();
    bson_error_t error;
    const Uri uri(mongoc_uri_new_with_error(settings.uri.c_str(), &error));
    if (uri == nullptr) throw std::invalid_argument(error.message);
    mongoc_uri_set_option_as_int32(uri.get(), MONGOC_URI_SERVERSELECTIONTIMEOUTMS,
                                   limits.server_selection);
    mongoc_uri_set_option_as_int32(uri.get(), MONGOC_URI_CONNECTTIMEOUTMS, limits.connect);
    mongoc_uri_set_option_as_int32(uri.get(), MONGOC_URI_SOCKETTIMEOUTMS, limits.socket);
    mongoc_uri_set_option_as_int32(uri.get(), MONGOC_URI_WAITQUEUETIMEOUTMS,
                                   limits.server_selection);
    mongoc_uri_set_appname(uri.get(), "cart");
    ClientPool pool(mongoc_client_pool_new_with_error(uri.get(), &error));
    if (pool == nullptr) throw std::invalid_argument(error.message);
    mongoc_client_pool_set_error_api(pool.get(), MONGOC_ERROR_API_VERSION_2);
    return pool;
  }

  Collection Carts(const Client& client) const {
    return Collection(mongoc_client_get_collection(client.get(), database.c_str(), kCollection));
  }

  // Applies `update` to the one document that matches `filter`; returns the document after that, or
  // nothing if none matches. With `upsert` it is created if it does not exist.
  std::optional<StoredCart> Update(const Bson& filter, const Bson& update, bool upsert = false) {
    const Client client(pool.get());
    const Collection carts = Carts(client);
    const FindAndModifyOpts opts(mongoc_find_and_modify_opts_new());
    mongoc_find_and_modify_opts_set_update(opts.get(), update.get());
    mongoc_find_and_modify_opts_set_flags(
        opts.get(), static_cast<mongoc_find_and_modify_flags_t>(
                        MONGOC_FIND_AND_MODIFY_RETURN_NEW |
                        (upsert ? MONGOC_FIND_AND_MODIFY_UPSERT : MONGOC_FIND_AND_MODIFY_NONE)));
    bson_t reply;
    bson_error_t error;
    const bool done = mongoc_collection_find_and_modify_with_opts(carts.get(), filter.get(),
                                                                  opts.get(), &reply, &error);
    std::optional<StoredCart> cart;
    bson_iter_t value;
    bson_iter_t fields;
    if (done && bson_iter_init_find(&value, &reply, "value") && BSON_ITER_HOLDS_DOCUMENT(&value) &&
        bson_iter_recurse(&value, &fields)) {
      cart = ReadCart(fields);
    }
    bson_destroy(&reply);
    if (!done && !(upsert && error.code == MONGOC_ERROR_DUPLICATE_KEY)) Throw(error);
    return cart;
  }

  const std::string database;
  const ClientPool pool;
  const ClientPool pings;  // as the driver has time-outs for a pool, not for a call
};

CartStore::CartStore(const MongoSettings& settings) : state_(std::make_unique<State>(settings)) {}

CartStore::~CartStore() = default;

void CartStore::Ping() {
  const Client client(state_->pings.get());
  const Bson ping(BCON_NEW("ping", BCON_INT32(1)));
  bson_error_t error;
  if (!mongoc_client_command_simple(client.get(), state_->database.c_str(), ping.get(), nullptr,
                                    nullptr, &error)) {
    Throw(error);
  }
}

StoredCart CartStore::Find(int64_t user_id) {
  const Client client(state_->pool.get());
  const Collection carts = state_->Carts(client);
  const Bson filter(BCON_NEW("_id", BCON_INT64(user_id)));
  const Cursor cursor(
      mongoc_collection_find_with_opts(carts.get(), filter.get(), nullptr, nullptr));
  const bson_t* document = nullptr;
  bson_iter_t fields;
  if (mongoc_cursor_next(cursor.get(), &document) && bson_iter_init(&fields, document)) {
    return ReadCart(fields);
  }
  bson_error_t error;
  if (mongoc_cursor_error(cursor.get(), &error)) Throw(error);
  StoredCart none;
  none.user_id = user_id;
  return none;
}

std::optional<StoredCart> CartStore::Increase(int64_t user_id, const Line& line, int64_t limit) {
  const std::string quantity = ItemPath(line.product_id, "quantity");
  const std::string name = ItemPath(line.product_id, "name");
  const std::string unit_price = ItemPath(line.product_id, "unitPrice");
  const Bson filter(BCON_NEW("_id", BCON_INT64(user_id), quantity.c_str(), "{", "$lte",
                             BCON_INT64(limit - line.quantity), "}"));
  const Bson update(BCON_NEW("$inc", "{", quantity.c_str(), BCON_INT64(line.quantity), "version",
                             BCON_INT64(1), "}", "$set", "{", name.c_str(),
                             BCON_UTF8(line.name.c_str()), unit_price.c_str(),
                             BCON_INT64(line.unit_price), "updatedAt", BCON_DATE_TIME(NowMs()),
                             "changeId", BCON_UTF8(NewChangeId().c_str()), "}"));
  return state_->Update(filter, update);
}

std::optional<StoredCart> CartStore::Insert(int64_t user_id, const Line& line, int64_t max_lines) {
  const std::string item = ItemPath(line.product_id);
  const int64_t now = NowMs();
  const Bson filter(BCON_NEW("_id", BCON_INT64(user_id), item.c_str(), "{", "$exists",
                             BCON_BOOL(false), "}", "lineCount", "{", "$lt", BCON_INT64(max_lines),
                             "}"));
  const Bson update(BCON_NEW("$inc", "{", "version", BCON_INT64(1), "lineCount", BCON_INT64(1),
                             "}",          //
                             "$set", "{",  //
                             item.c_str(), "{", "quantity", BCON_INT64(line.quantity), "name",
                             BCON_UTF8(line.name.c_str()), "unitPrice", BCON_INT64(line.unit_price),
                             "addedAt", BCON_DATE_TIME(now), "}",  //
                             "updatedAt", BCON_DATE_TIME(now), "changeId",
                             BCON_UTF8(NewChangeId().c_str()), "}"));
  // If the document exists but does not match the filter, the upsert fails on the unique _id.
  return state_->Update(filter, update, /*upsert=*/true);
}

std::optional<StoredCart> CartStore::SetQuantity(int64_t user_id, int64_t product_id,
                                                 int64_t quantity) {
  const std::string item = ItemPath(product_id);
  const std::string path = ItemPath(product_id, "quantity");
  const Bson filter(
      BCON_NEW("_id", BCON_INT64(user_id), item.c_str(), "{", "$exists", BCON_BOOL(true), "}"));
  const Bson update(BCON_NEW("$inc", "{", "version", BCON_INT64(1), "}", "$set", "{", path.c_str(),
                             BCON_INT64(quantity), "updatedAt", BCON_DATE_TIME(NowMs()), "changeId",
                             BCON_UTF8(NewChangeId().c_str()), "}"));
  return state_->Update(filter, update);
}

StoredCart CartStore::Remove(int64_t user_id, int64_t product_id) {
  const std::string item = ItemPath(product_id);
  const Bson filter(
      BCON_NEW("_id", BCON_INT64(user_id), item.c_str(), "{", "$exists", BCON_BOOL(true), "}"));
  const Bson update(BCON_NEW("$inc", "{", "version", BCON_INT64(1), "lineCount", BCON_INT64(-1),
                             "}", "$unset", "{", item.c_str(), BCON_INT32(1), "}", "$set", "{",
                             "updatedAt", BCON_DATE_TIME(NowMs()), "changeId",
                             BCON_UTF8(NewChangeId().c_str()), "}"));
  std::optional<StoredCart> changed = state_->Update(filter, update);
  return changed ? *std::move(changed) : Find(user_id);
}

StoredCart CartStore::Clear(int64_t user_id) {
  const Bson filter(
      BCON_NEW("_id", BCON_INT64(user_id), "lineCount", "{", "$gt", BCON_INT64(0), "}"));
  const Bson update(BCON_NEW("$inc", "{", "version", BCON_INT64(1), "}", "$set", "{", "lineCount",
                             BCON_INT64(0), "items", "{", "}", "updatedAt", BCON_DATE_TIME(NowMs()),
                             "changeId", BCON_UTF8(NewChangeId().c_str()), "}"));
  std::optional<StoredCart> changed = state_->Update(filter, update);
  return changed ? *std::move(changed) : Find(user_id);
}

bool CartStore::TakeOut(int64_t user_id, const Ordered& ordered) {
  return Rewrite(user_id, [&](StoredCart* cart) {
    const auto known =
        std::find_if(cart->taken.begin(), cart->taken.end(), [&](const Taken& taken) {
          // A caller of the first release sends only the version.
          return taken.order_uuid.empty() ? taken.version == ordered.version
                                          : taken.order_uuid == ordered.order_uuid;
        });
    if (known != cart->taken.end()) return false;
    Taken taken{.order_uuid = ordered.order_uuid, .version = ordered.version};
    for (Line& line : cart->lines) {
      const auto bought = ordered.quantities.find(line.product_id);
      if (bought == ordered.quantities.end()) continue;
      Line part = line;
      part.quantity = std::min(line.quantity, bought->second);
      line.quantity -= part.quantity;
      taken.lines.push_back(std::move(part));
    }
    std::erase_if(cart->lines, [](const Line& line) { return line.quantity <= 0; });
    Remember(cart, std::move(taken));
    return true;
  });
}

bool CartStore::PutBack(int64_t user_id, const std::string& order_uuid, int64_t max_quantity,
                        int64_t max_lines) {
  bool put_back = false;
  Rewrite(user_id, [&](StoredCart* cart) {
    put_back = false;
    const auto taken = std::find_if(cart->taken.begin(), cart->taken.end(),
                                    [&](const Taken& one) { return one.order_uuid == order_uuid; });
    if (taken == cart->taken.end()) {
      Remember(cart, {.order_uuid = order_uuid, .put_back = true});
      return true;
    }
    if (taken->put_back) return false;
    for (Line& line : taken->lines) {
      const auto present =
          std::find_if(cart->lines.begin(), cart->lines.end(),
                       [&](const Line& other) { return other.product_id == line.product_id; });
      if (present != cart->lines.end()) {
        present->quantity =
            std::max(present->quantity, std::min(max_quantity, present->quantity + line.quantity));
      } else if (std::ssize(cart->lines) < max_lines) {
        cart->lines.push_back(std::move(line));
      } else {
        continue;
      }
      put_back = true;
    }
    taken->lines.clear();
    taken->put_back = true;
    return true;
  });
  return put_back;
}

bool CartStore::ClearVersion(int64_t user_id, int64_t version) {
  return Rewrite(user_id, [&](StoredCart* cart) {
    if (cart->version != version) return false;
    cart->lines.clear();
    Remember(cart, {.version = version});
    return true;
  });
}

bool CartStore::Rewrite(int64_t user_id, const std::function<bool(StoredCart*)>& change) {
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    StoredCart cart = Find(user_id);
    if (!change(&cart)) return false;
    const Bson filter(BCON_NEW("_id", BCON_INT64(user_id), "version", BCON_INT64(cart.version)));
    // At version 0 there is no document yet: the upsert creates it, unless another change has.
    if (state_->Update(filter, Replacing(cart), /*upsert=*/cart.version == 0)) return true;
  }
  throw Unavailable("the cart kept changing");
}

}  // namespace shop::cart
