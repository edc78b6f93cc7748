// What somebody is told of what is kept about them.
#pragma once

#include <cstdint>

#include "common/postgres/pool.h"
#include "shop/auth/v1/auth.pb.h"

namespace shop::auth {

// Of the account, if there is one; in the caller's transaction.
v1::Account DescribeAccount(postgres::Tx& tx, int64_t account);

// Where users find what other services keep about them: adds the links.
void AddLinks(v1::Export* to);

}  // namespace shop::auth
