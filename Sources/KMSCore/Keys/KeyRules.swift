/// The rules that every provider enforces, with the errors that it gives.
extension KeyVersion {
  /// - Throws: ``KMSError/Code/keyPurposeForbids``, ``KMSError/Code/keyStateForbids``.
  public func check(purpose wanted: KeyPurpose, allowing: (KeyState) -> Bool, operation: String) throws {
    guard purpose == wanted else {
      throw KMSError(
        .keyPurposeForbids, "key '\(key)' is for \(purpose.rawValue), not for \(wanted.rawValue)",
        advice: "Use a key made for \(wanted.rawValue).", provider: provider, key: "\(key) \(id)",
        operation: operation)
    }
    guard allowing(state) else {
      throw KMSError(
        .keyStateForbids, "key version \(id) is \(state.rawValue)",
        advice: state == .suspended
          ? "Activate it first, if that is meant." : "New data takes the key's current version.",
        provider: provider, key: "\(key) \(id)", operation: operation)
    }
  }

  /// - Throws: ``KMSError/Code/illegalStateTransition`` when the table does not list the step.
  public func check(transitionTo next: KeyState) throws {
    guard !state.mayBecome(next) else { return }
    let allowed = state.successors.map(\.rawValue).joined(separator: ", ")
    throw KMSError(
      .illegalStateTransition, "a version that is \(state.rawValue) cannot become \(next.rawValue)",
      advice: allowed.isEmpty ? "Its state is final." : "It can become: \(allowed).", provider: provider,
      key: "\(key) \(id)", operation: "set-state")
  }
}
