internal import AccessLog
internal import Envelope
internal import KMSCore

/// A message whose recipients are to be replaced, for itself and for those that have the same.
struct Leader: Sendable {
  let message: EncryptMessage
  let context: EncryptionContext

  var access: Access { Access(contextNames: context.names) }
}

/// Keys that a provider rewraps in one call: the plain case, one recipient that goes from one version to the next.
private struct Chunk: Sendable {
  struct Route: Hashable {
    let old: KeyVersionID
    let new: KeyVersionID
    let contextNames: [String]
  }

  let old: KeyVersion
  let target: KeyVersion
  var members: [(leader: Int, recipient: Recipient, plan: RewrapPlan)] = []

  // So that a call takes some milliseconds, and no thread longer.
  static let size = 64
}

/// Messages that differ, and what is known of their new recipients before a provider is asked.
struct RecipientWork: Sendable {
  let leaders: [Leader]
  fileprivate let chunks: [Chunk]
  /// What needs no provider.
  fileprivate let settled: [Result<[Recipient]?, any Error>?]
}

extension DataAtRestManager {
  /// The recipients that each message should have, or nil where it has them.
  func newRecipients(
    _ work: RecipientWork, for goal: RewrapGoal, jobs: Int
  ) async throws -> [Result<[Recipient]?, any Error>] {
    let leaders = work.leaders
    var results = work.settled
    let done = try await inParallel(work.chunks, jobs: jobs) { [self] chunk in try await rewrap(chunk, leaders) }
    for (chunk, keys) in zip(work.chunks, done) {
      guard case .success(let keys) = keys else { continue }
      for (member, key) in zip(chunk.members, keys) {
        guard case .success(let wrapped) = key, Self.provesContext(member.recipient.wrapped, wrapped) else { continue }
        results[member.leader] = .success(member.plan.recipients([chunk.target.id: wrapped]))
      }
    }
    // What is not plain, and what failed: by itself, through every recipient that there is.
    let rest = leaders.indices.filter { results[$0] == nil }
    let single = try await inParallel(rest, jobs: jobs) { [self] index in
      try await newRecipients(
        of: leaders[index].message, for: goal, context: leaders[index].context, access: leaders[index].access)
    }
    for (index, result) in zip(rest, single) { results[index] = result }
    return results.map { $0 ?? .success(nil) }
  }

  private func rewrap(_ chunk: Chunk, _ leaders: [Leader]) async throws -> [Result<WrappedKey, KMSError>] {
    guard let first = chunk.members.first else { return [] }
    let provider = try providers.provider(
      chunk.target.provider, access: leaders[first.leader].access, key: chunk.target.key)
    return try await provider.rewrap(
      chunk.members.map { member in
        RewrapRequest(
          member.recipient.wrapped, thumbprint: leaders[member.leader].message.thumbprint,
          aad: EncryptMessage.recipientAAD(leaders[member.leader].context))
      }, from: chunk.old.id, to: chunk.target.id)
  }

  /// Plans every message. Those that have what they should, or cannot be planned, are settled.
  func plan(_ leaders: [Leader], for goal: RewrapGoal) async throws -> RecipientWork {
    var settled = [Result<[Recipient]?, any Error>?](repeating: nil, count: leaders.count)
    var open: [Chunk.Route: Chunk] = [:]
    var full: [Chunk] = []
    for (index, leader) in leaders.enumerated() {
      do {
        let plan = try await plan(leader.message, goal, access: leader.access)
        guard let target = plan.targets.first else {
          settled[index] = .success(nil)
          continue
        }
        try checkWillUnwrap(target)
        guard plan.targets.count == 1,
          let (recipient, old) = try await sourceInside(of: leader.message, for: target, access: leader.access)
        else { continue }
        let route = Chunk.Route(old: old.id, new: target.id, contextNames: leader.context.names)
        var chunk = open[route] ?? Chunk(old: old, target: target)
        chunk.members.append((index, recipient, plan))
        open[route] = chunk.members.count < Chunk.size ? chunk : nil
        if chunk.members.count == Chunk.size { full.append(chunk) }
      } catch let error as KMSError where error.code != .accessLogUnavailable {
        settled[index] = .failure(error)
      }
    }
    return RecipientWork(leaders: leaders, chunks: full + open.values, settled: settled)
  }
}
