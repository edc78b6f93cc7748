// Carts in MongoDB: one document a user,
//
//   {_id: userId, version, changeId, lineCount, updatedAt,
//    items: {"<productId>": {quantity, name, unitPrice, addedAt}},
//    taken: [{order, version, at, putBack, items}]}
//
// Every change is one atomic update of that document, guarded by its own filter, and raises
// `version`, so concurrent changes never undo each other: a change that reads first is written only
// if the document is still at the version that was read, and starts again if it is not. The document
// stays when the cart is cleared, so its version never restarts.
//
// `taken` records which orders took their lines out of the cart, and which lines: the last 50 orders
// of at most 30 days. An order is settled with its cart within seconds, unless a person has to step
// in.
//
// Uses only operators that MongoDB and the local stand-in for it share, and no transactions.
// Everything throws Unavailable when MongoDB is away. An update whose answer was lost may have been
// made.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "common/core/env.h"

namespace shop::cart {

struct MongoSettings {
  std::string uri;       // MONGODB_URI
  std::string database;  // the one in the URI, or cart

  static MongoSettings Read(Env& env);
};

struct Line {
  int64_t product_id = 0;
  int64_t quantity = 0;
  // At the time the product was last added.
  std::string name;
  int64_t unit_price = 0;
  int64_t added_at_ms = 0;  // the first time
};

// What an order took out of a cart.
struct Taken {
  std::string order_uuid = {};  // empty for a caller of the first release, which sent none
  int64_t version = 0;          // of the cart that was ordered
  int64_t at_ms = 0;
  bool put_back = false;
  std::vector<Line> lines = {};  // empty once they have been put back
};

// A cart as it is stored. Without a document: version 0 and no lines.
struct StoredCart {
  int64_t user_id = 0;
  int64_t version = 0;
  std::string change_id;    // of the last change; empty if that was before there were such ids
  std::vector<Line> lines;  // in the order they were added
  int64_t updated_at_ms = 0;
  std::vector<Taken> taken;  // the oldest first

  const Line* Find(int64_t product_id) const;
};

// The part of a cart that an order bought.
struct Ordered {
  std::string order_uuid;
  int64_t version = 0;                         // of the cart when it was ordered
  std::map<int64_t, int64_t> quantities = {};  // by product
};

// Thread-safe. Changes return the cart as they have left it.
class CartStore {
 public:
  // Connects when first used; throws std::invalid_argument if the URI is invalid.
  explicit CartStore(const MongoSettings& settings);
  ~CartStore();

  // Throws unless MongoDB answers within a few seconds. Uses a connection of its own.
  void Ping();
  StoredCart Find(int64_t user_id);

  // Adds `line.quantity` to the product's line, and updates its name and price. Nothing if there is
  // no such line or its quantity would exceed `limit`.
  std::optional<StoredCart> Increase(int64_t user_id, const Line& line, int64_t limit);
  // Adds a line, and creates the cart if necessary. Nothing if there is such a line already or the
  // cart has `max_lines`.
  std::optional<StoredCart> Insert(int64_t user_id, const Line& line, int64_t max_lines);
  // Nothing if there is no such line.
  std::optional<StoredCart> SetQuantity(int64_t user_id, int64_t product_id, int64_t quantity);
  // These two change nothing, not even the version, if there is nothing to remove.
  StoredCart Remove(int64_t user_id, int64_t product_id);
  StoredCart Clear(int64_t user_id);
  // Removes from the cart what was ordered and is still in it, once for each order; returns whether
  // this call did.
  bool TakeOut(int64_t user_id, const Ordered& ordered);
  // Puts back what TakeOut removed for the order, once, within the limits of a line and of the cart;
  // returns whether this call put anything back. After that, TakeOut removes nothing for the order,
  // even if it had not removed anything before.
  bool PutBack(int64_t user_id, const std::string& order_uuid, int64_t max_quantity,
               int64_t max_lines);
  // Clears the cart if it is still at `version`; returns whether it did.
  bool ClearVersion(int64_t user_id, int64_t version);

 private:
  // Applies `change` to the cart that is stored and writes the result, unless it returns false.
  // Starts again with the stored cart if another change was written in between.
  bool Rewrite(int64_t user_id, const std::function<bool(StoredCart*)>& change);

  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop::cart
