internal import AccessLog
public import KMSCore

/// What a scheduled rotation did with one key.
public struct RotationResult: Sendable {
  /// How the key stood, and when it would be its turn.
  public let plan: RotationPlan
  /// The current version after a rotation that was made or finished; nil when nothing was done.
  public let version: KeyVersion?
  /// Why it failed; the version before goes on serving.
  public let error: KMSError?
  /// When it is the key's turn again; nil when no time will bring it.
  public let next: Timestamp?
}

extension DataAtRestManager {
  /// How every key of the provider that makes new versions stands with its rotation. Changes nothing.
  public func rotationPlans(now: Timestamp = .now(), principal: String? = nil) async throws -> [RotationPlan] {
    let versions = try await directory.reachable(access: Access(principal: principal))
    let isAhead = versions.contains { $0.state == .active && $0.isDatedAhead(of: now) }
    return RotationSchedule(interval: configuration.keyRotationInterval).plans(
      versions, provider: providers.primaryName, failures: try await rotationFailures(now: now),
      rotated: isAhead ? try await lastRotations(now: now) : [:], now: now)
  }

  /// Rotates every key that is due, and finishes rotations that were cut off. For cron, a timer, or a service.
  ///
  /// A key whose rotation fails does not keep the others from theirs; it is tried again after a pause, which grows
  /// from a minute to an hour with each failure. The task's cancellation is looked at between two keys as well.
  /// - Parameters:
  ///   - reason: for the log.
  ///   - dryRun: say what would be done, and do nothing.
  ///   - now: the moment that ages are told at.
  ///   - shouldStop: asked before each key; true leaves the rest for another time.
  /// - Returns: one result a key, by name.
  /// - Throws: ``KMSError`` when the keys cannot be listed.
  public func rotateDue(
    reason: String = "scheduled", dryRun: Bool = false, now: Timestamp = .now(), principal: String? = nil,
    shouldStop: @Sendable () -> Bool = { false }
  ) async throws -> [RotationResult] {
    var results: [RotationResult] = []
    for plan in try await rotationPlans(now: now, principal: principal) {
      guard plan.isActionable, !dryRun, !shouldStop() else {
        results.append(.untouched(plan))
        continue
      }
      do {
        results.append(try await carryOut(plan, reason: reason, now: now, principal: principal))
      } catch let error as KMSError {
        let next = try? await rotationPlans(now: now, principal: principal).first { $0.key == plan.key }?.next
        results.append(RotationResult(plan: plan, version: nil, error: error, next: next))
      }
    }
    return results
  }

  private func carryOut(
    _ plan: RotationPlan, reason: String, now: Timestamp, principal: String?
  ) async throws -> RotationResult {
    // Asked again: another node may have done it since the keys were listed.
    directory.invalidate()
    let plans = try await rotationPlans(now: now, principal: principal)
    guard let fresh = plans.first(where: { $0.key == plan.key }) else { return .untouched(plan) }
    guard fresh.isActionable else { return .untouched(fresh) }
    let version =
      fresh.standing == .interrupted
      ? try await finishRotation(of: plan.key, reason: reason, principal: principal)
      : try await rotate(plan.key, reason: reason, principal: principal)
    return RotationResult(
      plan: fresh, version: version, error: nil,
      next: version.id.created?.advanced(by: configuration.keyRotationInterval))
  }
}

extension RotationResult {
  fileprivate static func untouched(_ plan: RotationPlan) -> RotationResult {
    RotationResult(plan: plan, version: nil, error: nil, next: plan.next)
  }
}
