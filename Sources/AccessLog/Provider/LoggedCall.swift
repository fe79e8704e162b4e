import KMSCore

/// One call of a provider on its way through the log: begun, perhaps announced, then succeeded or failed.
struct LoggedCall: Sendable {
  private let event: AccessEvent
  private let reporter: any AccessReporter
  private let began: UInt64

  init(
    _ operation: AccessEvent.Operation, key: KeyName?, version: KeyVersionID?, provider: String, access: Access,
    reason: String?, reporter: any AccessReporter
  ) {
    event = AccessEvent(
      operation, timestamp: Timestamp(nanoseconds: 0), key: key, version: version, provider: provider, access: access,
      reason: reason)
    self.reporter = reporter
    began = monotonicNanoseconds()
  }

  /// To be asked before anything is done.
  func permit() throws(KMSError) { try reporter.check(event.access) }

  /// Reports the intent. The clock starts again: waiting for the log is no part of the call.
  func announced() async throws -> LoggedCall {
    do { try permit() } catch { throw await failed(error) }
    var intent = event
    intent.phase = .intent
    intent.timestamp = .now()
    do { try await reporter.report(intent) } catch {
      throw unavailable("took no intent, so nothing was done", error)
    }
    return LoggedCall(
      event.operation, key: event.key, version: event.version, provider: event.provider ?? "", access: event.access,
      reason: event.reason, reporter: reporter)
  }

  func run<Result>(_ body: () async throws -> Result) async throws -> Result {
    let result: Result
    do {
      try permit()
      result = try await body()
    } catch { throw await failed(error) }
    try await succeeded()
    return result
  }

  func succeeded() async throws { try await report(nil) }

  /// Logs one event for each of the keys that a call was about, all in one go. Each stands for its share of the time.
  func ended<Value>(_ results: [Result<Value, KMSError>]) async throws {
    var outcome = event
    outcome.duration = .nanoseconds(Int64(monotonicNanoseconds() - began) / Int64(max(1, results.count)))
    outcome.timestamp = .now()
    let events = results.map { result in
      var event = outcome
      if case .failure(let error) = result {
        event.errorCode = error.code
        event.errorMessage = error.message + (error.cause.map { " (\($0))" } ?? "")
      }
      return event
    }
    do { try await reporter.report(events) } catch {
      throw unavailable("took no outcome, so none is given out", error)
    }
  }

  /// Logs the failure. Gives back what the caller is to throw.
  func failed(_ error: any Error) async -> any Error {
    let thrown: any Error
    let outcome: (KMSError.Code, String)
    switch error {
    case let error as KMSError:
      outcome = (error.code, error.message + (error.cause.map { " (\($0))" } ?? ""))
      thrown = error.adding(
        provider: event.provider, key: event.key?.description, operation: event.operation.rawValue)
    case is CancellationError:
      outcome = (.cancelled, "the task was cancelled")
      thrown = error
    default:
      // Its text is not ours: it could hold anything. And only KMSError may come out of a provider.
      let foreign = KMSError(
        .providerFailed, "the provider failed with an error of type \(type(of: error))",
        provider: event.provider, key: event.key?.description, operation: event.operation.rawValue)
      outcome = (foreign.code, foreign.message)
      thrown = foreign
    }
    do { try await report(outcome) } catch { return error }
    return thrown
  }

  func report(_ failure: (code: KMSError.Code, message: String)?) async throws {
    var outcome = event
    outcome.duration = .nanoseconds(Int64(monotonicNanoseconds() - began))
    outcome.timestamp = .now()
    outcome.errorCode = failure?.code
    outcome.errorMessage = failure?.message
    do { try await reporter.report(outcome) } catch {
      throw unavailable("took no outcome, so none is given out", error)
    }
  }

  private func unavailable(_ what: String, _ error: any Error) -> KMSError {
    let known = error as? KMSError
    return KMSError(
      .accessLogUnavailable, "the access log \(what): \(known?.message ?? "an error of type \(type(of: error))")",
      advice: known?.advice ?? "Mend the access log; calls go on when it takes events again.",
      provider: event.provider, key: event.key?.description, operation: event.operation.rawValue,
      cause: known?.cause)
  }
}

extension KMSError.Code {
  /// How a cancelled call stands in the log; it is thrown as `CancellationError`.
  static let cancelled = Self(rawValue: "cancelled")
}
