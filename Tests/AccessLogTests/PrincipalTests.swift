import KMSCore
import ServiceContextModule
import Testing

@testable import AccessLog

/// On whose behalf: from the call, or from the task's ServiceContext, or nobody, which can be refused.
@Suite struct PrincipalTests {
  @Test func namesAndIDsComeFromTheServiceContext() async throws {
    let recorder = Recorder()
    let provider = AccessLoggedProvider(Puppet(), reporter: recorder)
    try await withPrincipal("billing") {
      var context = try #require(ServiceContext.current)
      (context.requestID, context.traceID) = ("r-1", "4bf92f3577b34da6a3ce929d0e0e4736")
      try await ServiceContext.withValue(context) {
        _ = try await provider.keyVersions(of: nil)
        _ = try await provider.accessed(by: Access(principal: "other", requestID: "r-2")).keyVersions(of: nil)
        try await withPrincipal("inner") { _ = try await provider.keyVersions(of: nil) }
      }
    }
    _ = try await provider.keyVersions(of: nil)
    #expect(recorder.events.map(\.access.principal) == ["billing", "other", "inner", nil])
    #expect(recorder.events.map(\.access.requestID) == ["r-1", "r-2", "r-1", nil])
    #expect(Set(recorder.events.dropLast().map(\.access.traceID)) == ["4bf92f3577b34da6a3ce929d0e0e4736"])
  }

  @Test("who is named in a ServiceContext inside of withPrincipal counts, and nobody where none is")
  func theNearestName() async throws {
    try await withPrincipal("outer") {
      #expect(Access.currentPrincipal == "outer")
      var context = try #require(ServiceContext.current)
      context.principal = "inner"
      ServiceContext.withValue(context) { #expect(Access.currentPrincipal == "inner") }
      context.principal = nil
      ServiceContext.withValue(context) { #expect(Access.currentPrincipal == nil) }
      ServiceContext.withValue(nil) { #expect(Access.currentPrincipal == nil) }
      ServiceContext.withValue(.topLevel) { #expect(Access.currentPrincipal == nil) }
      await withPrincipal("nearest") { #expect(Access.currentPrincipal == "nearest") }
      #expect(await Task { Access.currentPrincipal }.value == "outer")
      #expect(await Task.detached { Access.currentPrincipal }.value == nil)
    }
    #expect(Access.currentPrincipal == nil)
  }

  @Test func theTraceStandsInTheLineAndIsReadBack() throws {
    var line: [UInt8] = []
    EventLine(AccessEvent(.wrap, access: Access(traceID: "4bf9"), count: 7)).write(sequence: 1, to: &line)
    let record = try #require(AccessRecord(line: line.dropLast()))
    #expect(record.traceID == "4bf9" && record.count == 7 && record.type == .summary)
    line = []
    EventLine(AccessEvent(.rotate, reason: "planned")).write(sequence: 1, to: &line)
    let rotation = try #require(AccessRecord(line: line.dropLast()))
    #expect(rotation.type == .rotation && rotation.reason == "planned")
  }

  @Test func whoNamesNobodyIsRefusedBeforeAnythingIsDone() async throws {
    let (recorder, puppet) = (Recorder(), Puppet())
    recorder.requiresPrincipal = true
    let provider = AccessLoggedProvider(puppet, reporter: recorder)
    let id = KeyVersionID.make()
    let calls: [() async throws -> Void] = [
      { _ = try await provider.keyVersions(of: nil) },
      { _ = try await provider.createKeyVersion(NewKeyVersion(key: KeyName("k"), id: id)) },
      { _ = try await provider.setState(.deactivated, of: id) },
      { _ = try await provider.wrap(SecretBytes.random(count: 32), under: id, aad: [1]) },
      { _ = try await provider.unwrap(WrappedKey(algorithm: .a256KW, bytes: []), under: id, aad: [1]) },
      { _ = try await provider.rewrap([], from: id, to: id) },
      { _ = try await provider.encrypt([1].span, under: id, aad: [1]) },
      { _ = try await provider.decrypt(DirectCiphertext(iv: [], bytes: []), under: id, aad: [1]) },
      {
        _ = try await provider.importKeyVersion(
          NewKeyVersion(key: KeyName("k"), id: id), material: SecretBytes.random(count: 32))
      },
      { _ = try await provider.adoptableKeys() },
      { _ = try await provider.adoptKey(NewKeyVersion(key: KeyName("k"), id: id), restricting: false) },
    ]
    for call in calls { await #expect(throws: KMSError(.accessDenied, "")) { try await call() } }
    #expect(puppet.calls.isEmpty)
    #expect(recorder.events.count == calls.count && recorder.events.allSatisfy { $0.errorCode == .accessDenied })
    try await withPrincipal("billing") { _ = try await provider.keyVersions(of: nil) }
    #expect(puppet.calls == ["list"])
    #expect(await provider.health().isServing)
  }
}
