#include "stock/config.h"

#include "common/core/addresses.h"

namespace shop::stock {

Config Config::Read(Env& env) {
  return {
      .postgres = postgres::Settings::Read(env, "stock"),
      .kafka = kafka::KafkaSettings::Read(env),
      .service = rpc::ServiceSettings::Read(env, "stock"),
      .products_address = ServiceAddress(env, "products"),
      .erasures = messaging::ReadErasurePace(env),
  };
}

}  // namespace shop::stock
