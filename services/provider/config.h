// The settings of the provider; README.md lists them.
#pragma once

#include <chrono>
#include <string>

#include "common/core/env.h"
#include "common/postgres/pool.h"
#include "provider/background.h"
#include "provider/http_server.h"

namespace shop::provider {

struct Config {
  HttpServer::Settings http;
  postgres::Settings postgres;
  std::string api_key;
  std::chrono::milliseconds decide_after{2'000};
  WebhookSettings webhooks;

  static Config Read(Env& env);
};

}  // namespace shop::provider
