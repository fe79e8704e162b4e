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
      try await plan(batch, for: goal)
    } work: { [self] plan in
      try await newEnvelopes(plan, for: goal, jobs: options.jobs)
    }
  }

  /// Goes through a source batch by batch, and stores what `work` gives for each.
  ///
  /// While the provider works on one batch, the one before is stored, and the next is read and planned.
  func run<Source: RewrapSource, Plan: Sendable>(
    _ source: inout Source, _ options: BulkOptions, _ progress: (Int, Double?) -> Void,
    plan: ([StoredEnvelope]) async throws -> Plan, work: @escaping @Sendable (Plan) async throws -> [BulkOutcome]
  ) async throws -> BulkReport {
    var report = BulkReport()
    var targets: Set<KeyVersionID> = []
    var done: (batch: [StoredEnvelope], outcomes: [BulkOutcome])?
    var next = try await source.nextBatch()
    while let batch = next {
      try Task.checkCancellation()
      let planned = try await plan(batch)
      async let outcomes = work(planned)
      if let done { try await store(done.outcomes, of: done.batch, in: &source, options, &report, &targets, progress) }
      next = try await source.nextBatch()
      done = (batch, try await outcomes)
    }
    if let done { try await store(done.outcomes, of: done.batch, in: &source, options, &report, &targets, progress) }
    if !options.isDryRun {
      if source.appearsAtTheEnd { try await checkStillServing(targets) }
      try await source.finish()
    }
    report.passedOver = source.passedOver
    return report
  }

  private func store<Source: RewrapSource>(
    _ outcomes: [BulkOutcome], of batch: [StoredEnvelope], in source: inout Source, _ options: BulkOptions,
    _ report: inout BulkReport, _ targets: inout Set<KeyVersionID>, _ progress: (Int, Double?) -> Void
  ) async throws {
    var new: [Int: [UInt8]] = [:]
    if !options.isDryRun {
      for (index, outcome) in outcomes.enumerated() {
        guard case .replace(let bytes) = outcome else { continue }
        new[index] = bytes
        if source.appearsAtTheEnd, let message = try? RewrappableMessage(parsing: bytes).message {
          targets.formUnion(message.recipients.map(\.kid))
        }
      }
    }
    let refused = try await source.replace(new)
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

  /// A version that was left meanwhile may be destroyed after a census that could not see what has yet to appear.
  private func checkStillServing(_ targets: Set<KeyVersionID>) async throws {
    for id in targets {
      let version = try await directory.version(id, access: Access())
      guard directory.failure == nil, version?.state != .active else { continue }
      throw KMSError(
        .keyStateForbids, "key version \(id) was left while envelopes were made for it; nothing was changed",
        advice: "Run the command again.", provider: version?.provider, key: version?.key.description)
    }
  }

  /// One rewrap for each set of recipients in the batch that differs, shared by all items that have it.
  private func plan(_ batch: [StoredEnvelope], for goal: RewrapGoal) async throws -> BatchPlan {
    let messages = batch.map { item in
      Result { try RewrappableMessage(parsing: item.envelope.get()) }
    }
    var groups: [RecipientSet: Int] = [:]
    var leaders: [Leader] = []
    let leaderOf = messages.enumerated().map { index, message -> Int? in
      guard let message = try? message.get().message else { return nil }
      let context = batch[index].context
      let key = RecipientSet(message, context)
      if let known = groups[key] { return known }
      groups[key] = leaders.count
      leaders.append(Leader(message: message, context: context))
      return leaders.count - 1
    }
    return BatchPlan(
      messages: messages, contexts: batch.map(\.context), leaderOf: leaderOf, work: try await plan(leaders, for: goal))
  }

  private func newEnvelopes(_ plan: BatchPlan, for goal: RewrapGoal, jobs: Int) async throws -> [BulkOutcome] {
    let shared = try await newRecipients(plan.work, for: goal, jobs: jobs)
    // Each item's own, where its leader's are of no use to it.
    var own: [Int: Result<[Recipient]?, any Error>] = [:]
    let rest = plan.messages.indices.filter { plan.needsItsOwn($0, besides: shared) }
    let made = try await inParallel(rest, jobs: jobs) { [self] index in
      try await newRecipients(
        of: plan.messages[index].get().message, for: goal, context: plan.contexts[index],
        access: Access(contextNames: plan.contexts[index].names))
    }
    for (index, result) in zip(rest, made) { own[index] = result }
    return plan.messages.indices.map { index in
      do {
        let message = try plan.messages[index].get()
        guard let leader = plan.leaderOf[index], let recipients = try (own[index] ?? shared[leader]).get() else {
          return .keep
        }
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

/// A batch, and what is to be done for it.
private struct BatchPlan: Sendable {
  let messages: [Result<RewrappableMessage, any Error>]
  let contexts: [EncryptionContext]
  /// For each item, the message in `work` whose recipients it gets.
  let leaderOf: [Int?]
  let work: RecipientWork

  /// What a leader was given by AES-GCM opens with the leader's context alone; and with another it may open.
  func needsItsOwn(_ index: Int, besides results: [Result<[Recipient]?, any Error>]) -> Bool {
    guard let leader = leaderOf[index], contexts[index] != work.leaders[leader].context else { return false }
    return switch results[leader] {
    case .success(let recipients): recipients?.contains(where: \.bindsContext) ?? false
    case .failure(let error): error.asKMSError.code == .doesNotOpen
    }
  }
}

/// What is to become of one item.
enum BulkOutcome: Sendable {
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
    self.context = recipients.contains(where: \.bindsContext) ? context : .empty
  }

  // A content key's own already.
  func hash(into hasher: inout Hasher) {
    hasher.combine(thumbprint.prefix(8).reduce(0 as UInt64) { $0 << 8 | UInt64($1) })
  }
}

extension Error {
  /// Providers and parsers throw nothing else.
  var asKMSError: KMSError {
    self as? KMSError ?? KMSError(.providerFailed, "failed with an error of type \(type(of: self))")
  }
}
