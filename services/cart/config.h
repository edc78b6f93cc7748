// The settings of cart; README.md lists them.
#pragma once

#include <string>

#include "cart/cart_store.h"
#include "common/core/env.h"
#include "common/rpc/identity.h"
#include "common/rpc/server.h"

namespace shop::cart {

struct Config {
  rpc::ServerSettings server;
  rpc::Identity::Settings identity;
  MongoSettings mongo;
  std::string products_address;
  std::string currency;

  static Config Read(Env& env);
};

}  // namespace shop::cart
