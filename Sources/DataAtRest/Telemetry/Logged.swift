internal import KMSCore
internal import Telemetry

extension AccessReporter {
  /// Runs one data operation and logs it, whatever its outcome. The result is dropped when the log fails.
  func logged<Result>(
    _ operation: AccessEvent.Operation, _ access: Access, _ body: (inout AccessEvent) async throws -> Result
  ) async throws -> Result {
    var event = AccessEvent(operation, access: access)
    event.access.fillIn()
    let start = ContinuousClock.now
    do {
      let result = try await traced(&event) { event in
        try check(event.access)
        try Task.checkCancellation()
        return try await body(&event)
      }
      event.timestamp = .now()
      event.duration = ContinuousClock.now - start
      try await report(event)
      return result
    } catch let error as KMSError where error.code == .accessLogUnavailable {
      throw error
    } catch {
      event.timestamp = .now()
      event.duration = ContinuousClock.now - start
      event.errorCode = (error as? KMSError)?.code ?? .cancelled
      event.errorMessage = (error as? KMSError)?.message ?? "cancelled"
      try await report(event)
      throw error
    }
  }
}
