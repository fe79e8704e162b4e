package import Glibc

/// Runs `body` while this thread gets no SIGPIPE, which would end the process: writing to a pipe or a socket whose
/// other end is gone is an error then. What the process does about the signal elsewhere is its own affair.
package func withoutSIGPIPE<Result, Failure>(
  _ body: () throws(Failure) -> Result
) throws(Failure) -> Result {
  var before = blockSIGPIPE()
  // Whoever has blocked it already looks after it.
  guard unsafe sigismember(&before, SIGPIPE) == 0 else { return try body() }  // a local value, for the call
  defer {
    // Also after a write that did some of it: a reader that goes meanwhile raises the signal all the same.
    var (pipe, now) = (pipeSignal(), timespec())
    unsafe _ = sigtimedwait(&pipe, nil, &now)  // local values, for the call
    unsafe _ = pthread_sigmask(SIG_SETMASK, &before, nil)  // as above
  }
  return try body()
}

/// Blocks it for this thread, for good.
///
/// - Returns: what was blocked before.
@discardableResult
package func blockSIGPIPE() -> sigset_t {
  var (pipe, before) = (pipeSignal(), sigset_t())
  unsafe _ = pthread_sigmask(SIG_BLOCK, &pipe, &before)  // local values, for the call
  return before
}

private func pipeSignal() -> sigset_t {
  var signals = sigset_t()
  unsafe sigemptyset(&signals)  // a local value, for the call
  unsafe sigaddset(&signals, SIGPIPE)  // as above
  return signals
}
