internal import CLinux
internal import Glibc
internal import KMSCore

/// Starts a thread that nobody joins, without SIGPIPE.
///
/// - Throws: ``KMSError/Code/providerUnavailable`` when the system gives no more threads.
func startThread(_ body: @escaping @Sendable () -> Void) throws(KMSError) {
  final class Start: Sendable {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  }
  var attributes = pthread_attr_t()
  var thread = pthread_t()
  unsafe pthread_attr_init(&attributes)  // outlives the calls
  unsafe pthread_attr_setdetachstate(&attributes, CInt(PTHREAD_CREATE_DETACHED))  // as above
  let start = unsafe Unmanaged.passRetained(Start(body))  // released by the thread, or below
  let failed = unsafe pthread_create(  // `start` is retained for it
    &thread, &attributes,
    { argument in
      blockSIGPIPE()
      unsafe Unmanaged<Start>.fromOpaque(argument!).takeRetainedValue().body()  // passed retained, below
      return nil
    }, start.toOpaque())
  unsafe pthread_attr_destroy(&attributes)  // not used after
  guard failed != 0 else { return }
  unsafe start.release()  // there is no thread to do it
  throw KMSError(
    .providerUnavailable, "no thread can be started to call the token",
    advice: "Raise the limits on processes and memory, or let this process do less at once.",
    cause: "pthread_create: \(unsafe String(cString: strerror(failed)))")  // copied at once
}
