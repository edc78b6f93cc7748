#include "orders/config.h"

#include "common/core/addresses.h"

namespace shop::orders {

Config Config::Read(Env& env) {
  return {
      .postgres = postgres::Settings::Read(env, "orders"),
      .kafka = kafka::KafkaSettings::Read(env),
      .service = rpc::ServiceSettings::Read(env, "orders"),
      .products_address = ServiceAddress(env, "products"),
      .cart_address = ServiceAddress(env, "cart"),
      .currency = env.Currency(),
  };
}

}  // namespace shop::orders
