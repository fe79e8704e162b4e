internal import AccessLog
internal import Envelope
internal import KMSCore

extension DataAtRestManager {
  /// Rewraps everything in a source.
  ///
  /// One damaged item stops no other: it is in the report with its reason. Equal recipients are rewrapped once a
  /// batch. A run that was killed is finished by the next.
  /// - Parameter progress: called after each batch, with the number of items in it and the share that is done.
  /// - Throws: ``KMSError/Code/accessLogUnavailable``, and what makes the source as a whole unusable.
  public func rewrap<Source: RewrapSource>(
    _ source: inout Source, for goal: RewrapGoal = .current, with options: BulkOptions = BulkOptions(),
    progress: (_ items: Int, _ fraction: Double?) -> Void = { _, _ in }
  ) async throws -> BulkReport {
    try await run(&source, options, progress) { batch in
      try await newEnvelopes(of: batch, for: goal, jobs: options.jobs)
    }
  }

  /// Goes through a source batch by batch, and stores what `work` gives for each.
  func run<Source: RewrapSource>(
    _ source: inout Source, _ options: BulkOptions, _ progress: (Int, Double?) -> Void,
    _ work: ([StoredEnvelope]) async throws -> [BulkOutcome]
  ) async throws -> BulkReport {
    var report = BulkReport()
    while let batch = try await source.nextBatch() {
      try Task.checkCancellation()
      let outcomes = try await work(batch)
      var new: [Int: [UInt8]] = [:]
      for (index, outcome) in outcomes.enumerated() {
        if case .replace(let bytes) = outcome { new[index] = bytes }
      }
      let refused = options.isDryRun || new.isEmpty ? [:] : try await source.replace(new)
      for (index, outcome) in outcomes.enumerated() {
        switch outcome {
        case .keep: report.unchanged += 1
        case .failed(let error): report.failures.append((batch[index].name, error))
        case .replace, .done:
          if let error = refused[index] {
            report.failures.append((batch[index].name, error))
          } else {
            report.changed += 1
          }
        }
      }
      progress(batch.count, source.fractionDone)
    }
    if !options.isDryRun { try await source.finish() }
    report.passedOver = source.passedOver
    return report
  }

  /// One rewrap for each set of recipients in the batch that differs, shared by all items that have it.
  private func newEnvelopes(
    of batch: [StoredEnvelope], for goal: RewrapGoal, jobs: Int
  ) async throws -> [BulkOutcome] {
    let parsed = batch.map { item in
      Result { try RewrappableMessage(parsing: item.envelope.get()) }
    }
    var groups: [RecipientSet: Int] = [:]
    var leaders: [Leader] = []
    let leaderOf = parsed.enumerated().map { index, message -> Int? in
      guard let message = try? message.get().message else { return nil }
      let context = batch[index].context
      let key = RecipientSet(message, context)
      if let known = groups[key] { return known }
      groups[key] = leaders.count
      leaders.append(Leader(message: message, context: context))
      return leaders.count - 1
    }
    let recipients = try await newRecipients(of: leaders, for: goal, jobs: jobs)
    return zip(parsed, leaderOf).map { message, leader in
      do {
        let message = try message.get()
        guard let leader, let recipients = try recipients[leader].get() else { return .keep }
        return .replace(try message.replacing(recipients: recipients))
      } catch {
        return .failed(error.asKMSError)
      }
    }
  }

  /// Runs `body` for each element, some at a time, in order of the elements. Each failure is its element's own, but
  /// for that of the access log, which ends everything.
  func inParallel<Element: Sendable, Value: Sendable>(
    _ elements: [Element], jobs: Int, _ body: @escaping @Sendable (Element) async throws -> Value
  ) async throws -> [Result<Value, any Error>] {
    let share = (elements.count + jobs - 1) / max(jobs, 1)
    guard jobs > 1, share > 0 else { return try await Self.inOrder(elements[...], body) }
    return try await withThrowingTaskGroup(of: (Int, [Result<Value, any Error>]).self) { group in
      for start in stride(from: 0, to: elements.count, by: share) {
        group.addTask {
          (start, try await Self.inOrder(elements[start..<min(start + share, elements.count)], body))
        }
      }
      var parts: [Int: [Result<Value, any Error>]] = [:]
      for try await (start, part) in group { parts[start] = part }
      return parts.sorted { $0.key < $1.key }.flatMap(\.value)
    }
  }

  private static func inOrder<Element, Value>(
    _ elements: ArraySlice<Element>, _ body: (Element) async throws -> Value
  ) async throws -> [Result<Value, any Error>] {
    var results: [Result<Value, any Error>] = []
    results.reserveCapacity(elements.count)
    for element in elements {
      await Task.yield()  // calls run where the task does, and others wait for its thread
      do { results.append(.success(try await body(element))) } catch let error as KMSError
        where error.code != .accessLogUnavailable
      {
        results.append(.failure(error))
      }
    }
    return results
  }
}

/// What is to become of one item.
enum BulkOutcome {
  case keep
  case replace([UInt8])
  /// Changed where it is stored, already.
  case done
  case failed(KMSError)
}

/// Messages that share it share the content key and need one rewrap.
private struct RecipientSet: Hashable {
  let recipients: [Recipient]
  let thumbprint: [UInt8]
  let context: EncryptionContext

  init(_ message: EncryptMessage, _ context: EncryptionContext) {
    recipients = message.recipients
    thumbprint = message.thumbprint
    // Only a recipient by AES-GCM authenticates the context.
    self.context = recipients.contains { $0.wrapped.algorithm == .a256GCM } ? context : .empty
  }
}

extension Error {
  /// Providers and parsers throw nothing else.
  var asKMSError: KMSError {
    self as? KMSError ?? KMSError(.providerFailed, "failed with an error of type \(type(of: self))")
  }
}
