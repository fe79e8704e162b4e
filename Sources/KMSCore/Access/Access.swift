/// On whose behalf a call is made, for the access log.
public struct Access: Sendable, Hashable {
  /// Who: a service or user name. Nil is logged as "unidentified".
  public var principal: String?
  /// Names of the encryption context's pairs. Never their values.
  public var contextNames: [String]
  /// The caller's own id for the request or trace.
  public var requestID: String?

  /// Nobody in particular, unless said.
  public init(principal: String? = nil, contextNames: [String] = [], requestID: String? = nil) {
    self.principal = principal
    self.contextNames = contextNames
    self.requestID = requestID
  }

  /// Whose work the current task does, where no principal is given to a call.
  @TaskLocal public static var currentPrincipal: String?
}

/// Runs `body` with every call inside it made, and logged, in the name of `principal`.
public func withPrincipal<Result>(
  _ principal: String, _ body: () async throws -> Result
) async rethrows -> Result {
  try await Access.$currentPrincipal.withValue(principal, operation: body)
}
