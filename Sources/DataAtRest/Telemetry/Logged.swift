internal import AccessLog
internal import KMSCore
internal import Telemetry

extension DataAtRestManager {
  /// Runs one data operation and logs it, whatever its outcome. The result is dropped when the log fails.
  func logged<Result>(
    _ operation: AccessEvent.Operation, _ access: Access, _ body: (inout AccessEvent) async throws -> Result
  ) async throws -> Result {
    try await DataAtRest.logged(operation, access, by: reporter, tracers: tracers, body)
  }

  /// Runs one data operation on many fields and logs it: by one record for all fields that are alike in key version
  /// and cache, in one go.
  func logged<Result>(
    _ operation: AccessEvent.Operation, _ access: Access,
    _ body: (inout AccessEvent, inout BatchTally) async throws -> Result
  ) async throws -> Result {
    var tally = BatchTally()
    return try await DataAtRest.logged(operation, access, by: reporter, tracers: tracers) { event in
      try await body(&event, &tally)
    } events: { event in
      tally.events(event)
    }
  }
}

/// Runs one data operation and logs it, whatever its outcome. The result is dropped when the log fails.
///
/// - Parameter events: what is logged when it went well; the one event when nil.
func logged<Result>(
  _ operation: AccessEvent.Operation, _ access: Access, by reporter: any AccessReporter, tracers: TracerWatch,
  _ body: (inout AccessEvent) async throws -> Result, events: ((AccessEvent) -> [AccessEvent])? = nil
) async throws -> Result {
  let start = bootNanoseconds()
  var event = AccessEvent(operation, timestamp: Timestamp(nanoseconds: 0), access: access)
  event.access.fillIn()
  do {
    let result: Result
    if tracers.mayTrace(at: start) {
      result = try await traced(&event) { event in try await permitted(&event, reporter, body) }
    } else {
      result = try await permitted(&event, reporter, body)
    }
    event.duration = .nanoseconds(Int64(bootNanoseconds() - start))
    event.timestamp = .now()
    if let events { try await reporter.report(events(event)) } else { try await reporter.report(event) }
    return result
  } catch let error as KMSError where error.code == .accessLogUnavailable {
    throw error
  } catch {
    event.duration = .nanoseconds(Int64(bootNanoseconds() - start))
    event.timestamp = .now()
    event.errorCode = (error as? KMSError)?.code ?? .cancelled
    event.errorMessage = (error as? KMSError)?.message ?? "cancelled"
    try await reporter.report(event)
    throw error
  }
}

private func permitted<Result>(
  _ event: inout AccessEvent, _ reporter: any AccessReporter, _ body: (inout AccessEvent) async throws -> Result
) async throws -> Result {
  try reporter.check(event.access)
  try Task.checkCancellation()
  return try await body(&event)
}

/// The fields of a batch, by what is logged of them.
struct BatchTally {
  private struct Part {
    let key: KeyName?
    let version: KeyVersionID?
    let provider: String?
    let cached: Bool
    var count = 0
    var contexts = ContextTags()
  }

  private var parts: [Part] = []
  private var count = 0
  private var names: [String] = []
  private var lastNames: [String] = []

  /// One more field, whose content key was at hand.
  mutating func add(
    _ id: KeyVersionID, of version: @autoclosure () -> KeyVersion, names: [String], tag: UInt64? = nil
  ) {
    add(to: part(id, cached: true) ?? append(version()), names, tag)
  }

  private mutating func append(_ version: KeyVersion) -> Int {
    append(Part(key: version.key, version: version.id, provider: version.provider, cached: true))
  }

  /// One more field, as the event tells of it.
  mutating func add(_ event: AccessEvent) {
    let i =
      part(event.version, cached: event.cached)
      ?? append(Part(key: event.key, version: event.version, provider: event.provider, cached: event.cached))
    add(to: i, event.access.contextNames, event.access.contextTag)
  }

  // Most often the last one.
  private func part(_ version: KeyVersionID?, cached: Bool) -> Int? {
    parts.lastIndex { $0.version == version && $0.cached == cached }
  }

  private mutating func append(_ part: Part) -> Int {
    parts.append(part)
    return parts.count - 1
  }

  private mutating func add(to part: Int, _ contextNames: [String], _ tag: UInt64?) {
    count += 1
    if contextNames != lastNames {
      lastNames = contextNames
      names += lastNames.filter { !names.contains($0) }
    }
    parts[part].count += 1
    if let tag { parts[part].contexts.add(tag) }
  }

  /// - Parameter whole: the batch's event, with its duration.
  func events(_ whole: AccessEvent) -> [AccessEvent] {
    parts.map { part in
      var event = whole
      (event.key, event.version, event.provider) = (part.key, part.version, part.provider)
      event.cached = part.cached
      event.duration = whole.duration / count
      (event.access.contextNames, event.access.contextTag) = (names, nil)
      (event.count, event.contexts) = (part.count, part.contexts)
      return event
    }
  }
}
