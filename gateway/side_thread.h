// A thread of its own for work that takes too long for one that serves connections.
#pragma once

#include <boost/asio/awaitable.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/thread_pool.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <type_traits>
#include <utility>

namespace shop::gateway {

// Thread-safe. Ends with the work that it has.
class SideThread {
 public:
  // Runs `work` there, then goes on where the caller was, with what it returned or threw.
  template <typename Work>
  boost::asio::awaitable<std::invoke_result_t<Work>> Run(Work work) {
    auto run = [work = std::move(work)]() -> boost::asio::awaitable<std::invoke_result_t<Work>> {
      co_return work();
    };
    co_return co_await boost::asio::co_spawn(thread_.get_executor(), std::move(run),
                                             boost::asio::use_awaitable);
  }

 private:
  boost::asio::thread_pool thread_{1};
};

}  // namespace shop::gateway
