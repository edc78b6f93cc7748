#include "stock/config.h"

#include "common/core/addresses.h"

namespace shop::stock {

Config Config::Read(Env& env) {
  return {
      .postgres = postgres::Settings::Read(env, "stock"),
      .kafka = kafka::KafkaSettings::Read(env),
      .server = rpc::ServerSettings::Read(env, "stock"),
      .identity = rpc::Identity::Settings::Read(env, "stock"),
      .products_address = ServiceAddress(env, "products"),
  };
}

}  // namespace shop::stock
