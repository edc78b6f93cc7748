// Carts in MongoDB: one document a user,
//
//   {_id: userId, version, changeId, lineCount, updatedAt,
//    items: {"<productId>": {quantity, name, unitPrice, addedAt}},
//    taken: [{order, version, at, putBack, items}]}
//
// Every change is one atomic update of that document, guarded by its own filter and counted in
// `version`, so changes at the same time never undo each other: what a change decides by reading
// first is written only at the version that was read, and decided anew at any other. The document
// stays when the cart is cleared: its version never restarts.
//
// `taken` remembers which orders took their lines out, and what that was: the last 50 of at most 30
// days, as an order is settled with its cart within seconds, or when a person comes to it.
//
// Only operators that MongoDB and the local stand-in for it share are used, no transactions.
// All of it throws Unavailable when MongoDB is away. An update whose answer got lost may have
// happened.
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

// What an order took out of a cart.
struct Taken {
  std::string order_uuid = {};  // empty when a caller of the first release did not say
  int64_t version = 0;          // of the cart that was ordered
  int64_t at_ms = 0;
  bool put_back = false;
  std::vector<Line> lines = {};  // to put back; none once that is done
};

// A cart as it is stored. Without a document: version 0 and no lines.
struct StoredCart {
  int64_t user_id = 0;
  int64_t version = 0;
  std::string change_id;    // made by the last change; empty before the first one that made any
  std::vector<Line> lines;  // in the order they were added
  int64_t updated_at_ms = 0;
  std::vector<Taken> taken;  // in the order it happened

  const Line* Find(int64_t product_id) const;
};

// What an order bought of a cart.
struct Ordered {
  std::string order_uuid;
  int64_t version = 0;                         // of the cart when it was ordered
  std::map<int64_t, int64_t> quantities = {};  // by product
};

// Thread-safe. Changes answer the cart as that very change left it.
class CartStore {
 public:
  // Connects when first used; throws std::invalid_argument when the URI is none.
  explicit CartStore(const MongoSettings& settings);
  ~CartStore();

  // Whether MongoDB answers, within a few seconds even when it is silent; throws if not. Over a
  // connection of its own.
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
  // Takes what was ordered out of the cart, as far as it is still there, once for each order; says
  // whether this call did.
  bool TakeOut(int64_t user_id, const Ordered& ordered);
  // Puts back what TakeOut took out for the order, once, as far as the limits of a line and of the
  // cart allow; says whether this call put anything back. An order that it does not know takes
  // nothing out later either.
  bool PutBack(int64_t user_id, const std::string& order_uuid, int64_t max_quantity,
               int64_t max_lines);
  // Clears the cart if it is still at `version`; says whether it did.
  bool ClearVersion(int64_t user_id, int64_t version);

 private:
  // Writes what `change(&cart)` makes of the cart, if it says that it changed anything. It is
  // called again with the cart as it is then when something else was quicker.
  bool Rewrite(int64_t user_id, const std::function<bool(StoredCart*)>& change);

  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace shop::cart
