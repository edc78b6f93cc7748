// Carts in MongoDB: one document a user,
//
//   {_id: userId, version, lineCount, updatedAt,
//    items: {"<productId>": {quantity, name, unitPrice, addedAt}}}
//
// Every change is one atomic update of that document, guarded by its own filter and counted in
// `version`; no change depends on what was read before it, so changes at the same time never undo
// each other. The document stays when the cart is cleared: its version never restarts.
//
// Only operators that MongoDB and the local stand-in for it share are used, no transactions.
// All of it throws Unavailable when MongoDB is away. An update whose answer got lost may have
// happened.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/core/env.h"

namespace shop::cart {

struct MongoSettings {
  std::string uri;       // MONGODB_URI
  std::string database;  // the one the URI names, else cart

  static MongoSettings Read(Env& env);
};

struct Line {
  int64_t product_id = 0;
  int64_t quantity = 0;
  // As they were when the product was last added.
  std::string name;
  int64_t unit_price = 0;
  int64_t added_at_ms = 0;  // when it was first added
};

// A cart as it is stored. Without a document: version 0 and no lines.
struct StoredCart {
  int64_t user_id = 0;
  int64_t version = 0;
  std::vector<Line> lines;  // in the order they were added
  int64_t updated_at_ms = 0;

  const Line* Find(int64_t product_id) const;
};

// Thread-safe. Changes answer the cart as that very change left it.
class CartStore {
 public:
  // Connects when first used; throws std::invalid_argument when the URI is none.
  explicit CartStore(const MongoSettings& settings);
  ~CartStore();

  void Ping();
  StoredCart Find(int64_t user_id);

  // Adds `line.quantity` to a line that is there, and takes name and price from `line`. Nothing
  // when there is no such line or its quantity would pass `limit`.
  std::optional<StoredCart> Increase(int64_t user_id, const Line& line, int64_t limit);
  // Adds a line, making the cart if need be. Nothing when the line is there already or the cart
  // holds `max_lines`.
  std::optional<StoredCart> Insert(int64_t user_id, const Line& line, int64_t max_lines);
  // Nothing when there is no such line.
  std::optional<StoredCart> SetQuantity(int64_t user_id, int64_t product_id, int64_t quantity);
  // These two change nothing, not even the version, when there is nothing to take out.
  StoredCart Remove(int64_t user_id, int64_t product_id);
  StoredCart Clear(int64_t user_id);
  // Clears the cart if it is still at `version`; says whether it did.
  bool ClearVersion(int64_t user_id, int64_t version);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop::cart
