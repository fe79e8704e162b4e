internal import Glibc
public import ServiceContextModule

/// On whose behalf a call is made, for the access log.
public struct Access: Sendable, Hashable {
  /// Who: a service or user name. Nil is logged as "unidentified".
  public var principal: String?
  /// Names of the encryption context's pairs. Never their values.
  public var contextNames: [String]
  /// The caller's own id for the request.
  public var requestID: String?
  /// Id of the trace that the request belongs to: 32 hex digits (W3C Trace Context).
  public var traceID: String?
  /// Tells one encryption context from another, without saying what is in them: made under a key that this process
  /// made for itself and takes with it. Nil for the empty context.
  public var contextTag: UInt64?

  /// Nobody in particular, unless said.
  public init(
    principal: String? = nil, contextNames: [String] = [], requestID: String? = nil, traceID: String? = nil
  ) {
    self.principal = principal
    self.contextNames = contextNames
    self.requestID = requestID
    self.traceID = traceID
  }

  /// Whose work the current task does, where no principal is given to a call.
  public static var currentPrincipal: String? {
    ServiceContext.current.flatMap(principal(of:))
  }

  private static func principal(of context: ServiceContext) -> String? {
    if let named = NamedContext.current, named.context.isIdentical(to: context) { return named.principal }
    return context.principal
  }

  /// Takes from the task's `ServiceContext` what is not said.
  public mutating func fillIn() {
    guard let context = ServiceContext.current else { return }
    principal = principal ?? Self.principal(of: context)
    // Most often nobody says more, and each look costs as much as a part of a field's cipher.
    guard context.count > 1 || principal == nil else { return }
    requestID = requestID ?? context.requestID
    traceID = traceID ?? context.traceID
  }
}

/// Runs `body` with every call inside it made, and logged, in the name of `principal`.
///
/// The name travels in the task's `ServiceContext`, as traces and baggage do.
public func withPrincipal<Result>(
  _ principal: String, _ body: () async throws -> Result
) async rethrows -> Result {
  var context = ServiceContext.current ?? .topLevel
  context.principal = principal
  return try await NamedContext.$current.withValue(NamedContext(context, principal)) {
    try await ServiceContext.withValue(context, operation: body)
  }
}

/// What ``withPrincipal(_:_:)`` set last: to look the name up in its context costs as much as a part of a field's cipher.
private final class NamedContext: Sendable {
  @TaskLocal static var current: NamedContext?

  let context: ServiceContext
  let principal: String

  init(_ context: ServiceContext, _ principal: String) {
    self.context = context
    self.principal = principal
  }
}

extension ServiceContext {
  private enum PrincipalKey: ServiceContextKey {
    typealias Value = String
    static let nameOverride: String? = "strongroom-principal"
  }
  private enum RequestKey: ServiceContextKey {
    typealias Value = String
    static let nameOverride: String? = "strongroom-request-id"
  }
  private enum TraceKey: ServiceContextKey {
    typealias Value = String
    static let nameOverride: String? = "strongroom-trace-id"
  }

  /// Whether both have the same bits, and so the same content, as one of them is held. Equal ones may have others.
  fileprivate func isIdentical(to other: ServiceContext) -> Bool {
    unsafe withUnsafeBytes(of: self) { own in  // for the call only
      unsafe withUnsafeBytes(of: other) { unsafe memcmp(own.baseAddress!, $0.baseAddress!, own.count) == 0 }  // as many
    }
  }

  /// On whose behalf keys are used; the access log's `accessed_by`.
  public var principal: String? {
    get { self[PrincipalKey.self] }
    set { self[PrincipalKey.self] = newValue }
  }

  /// The caller's id for the request; the access log's `request_id`.
  public var requestID: String? {
    get { self[RequestKey.self] }
    set { self[RequestKey.self] = newValue }
  }

  /// The trace's id; the access log's `trace_id`.
  public var traceID: String? {
    get { self[TraceKey.self] }
    set { self[TraceKey.self] = newValue }
  }
}
