import KMSCore
import Testing

@testable import AccessLog

@Suite struct AccessLoggedProviderTests {
  let recorder = Recorder()
  let id = KeyVersionID.make()
  let wrapped = WrappedKey(algorithm: .a256KW, bytes: [])

  private func provider(_ base: Puppet = Puppet()) throws -> AccessLoggedProvider {
    AccessLoggedProvider(base, reporter: recorder, access: Access(principal: "alice"), key: try KeyName("pii"))
  }

  @Test func everyCallIsLoggedOnce() async throws {
    let provider = try provider()
    _ = try await provider.keyVersions(of: nil)
    _ = try await provider.wrap(SecretBytes.random(count: 32), under: id, aad: [])
    _ = try await provider.unwrap(wrapped, under: id, aad: [])
    _ = await provider.health()
    await provider.close()
    #expect(recorder.events.map(\.operation) == [.listVersions, .wrap, .unwrap, .health, .close])
    #expect(recorder.events.allSatisfy { $0.success && $0.phase == .outcome && $0.access.principal == "alice" })
    #expect(recorder.events.allSatisfy { $0.provider == "puppet" && $0.duration > .zero })
    #expect(recorder.events[1].key?.description == "pii" && recorder.events[1].version == id)
    #expect(provider.identity == ProviderIdentity(kind: "memory", name: "puppet"))
  }

  @Test func changesAnnounceThemselves() async throws {
    let provider = try provider().accessed(by: Access(principal: "bob"), reason: "scheduled")
    let request = NewKeyVersion(key: try KeyName("other"))
    _ = try await provider.createKeyVersion(request)
    _ = try await provider.setState(.deactivated, of: id)
    let events = recorder.events
    #expect(events.map(\.phase) == [.intent, .outcome, .intent, .outcome])
    #expect(events.map(\.operation) == [.createVersion, .createVersion, .setState, .setState])
    #expect(events[0].key?.description == "other" && events[0].version == request.id)
    #expect(events[1].reason == "scheduled" && events[3].reason == "deactivated: scheduled")
    #expect(events[0].timestamp <= events[1].timestamp && events[0].access.principal == "bob")
  }

  @Test func nothingIsDoneWhenTheIntentIsNotTaken() async throws {
    let base = Puppet()
    let provider = try provider(base)
    recorder.refuse = [.intent]
    let pii = try KeyName("pii")
    await #expect(throws: KMSError(.accessLogUnavailable, "")) {
      try await provider.createKeyVersion(NewKeyVersion(key: pii))
    }
    await #expect(throws: KMSError(.accessLogUnavailable, "")) { try await provider.setState(.suspended, of: id) }
    await #expect(throws: KMSError(.accessLogUnavailable, "")) {
      try await provider.importKeyVersion(NewKeyVersion(key: pii), material: SecretBytes.random(count: 32))
    }
    #expect(base.calls.isEmpty)
  }

  @Test func noResultWithoutItsOutcomeInTheLog() async throws {
    let provider = try provider()
    recorder.refuse = [.outcome]
    let error = await #expect(throws: KMSError.self) {
      _ = try await provider.wrap(SecretBytes.random(count: 32), under: id, aad: [])
    }
    #expect(error?.code == .accessLogUnavailable && error?.advice == "Free some space.")
    #expect(error?.provider == "puppet" && error?.key == "pii" && error?.operation == "wrap")
    await #expect(throws: KMSError(.accessLogUnavailable, "")) {
      _ = try await provider.unwrap(wrapped, under: id, aad: [])
    }
    await #expect(throws: KMSError(.accessLogUnavailable, "")) { _ = try await provider.keyVersions(of: nil) }
    let health = await provider.health()
    #expect(!health.isServing && health.detail.contains("the disk is full"))
  }

  @Test func failuresAreLoggedAndRethrown() async throws {
    let cause = KMSError(.keyNotFound, "no such version", cause: "C_FindObjects: CKR_OK (0x0)")
    let provider = try provider(Puppet(failing: cause))
    let error = await #expect(throws: KMSError.self) { _ = try await provider.unwrap(wrapped, under: id, aad: []) }
    #expect(error?.code == .keyNotFound && error?.message == "no such version" && error?.location == cause.location)
    #expect(error?.provider == "puppet" && error?.operation == "unwrap")
    #expect(recorder.events.first?.errorCode == .keyNotFound)
    #expect(recorder.events.first?.errorMessage == "no such version (C_FindObjects: CKR_OK (0x0))")
  }

  @Test func aFailureThatCannotBeLoggedIsALogFailure() async throws {
    let provider = try provider(Puppet(failing: KMSError(.keyNotFound, "no such version")))
    recorder.refuse = [.outcome]
    await #expect(throws: KMSError(.accessLogUnavailable, "")) {
      _ = try await provider.unwrap(wrapped, under: id, aad: [])
    }
  }

  @Test func cancellationIsLoggedAndStaysCancellation() async throws {
    let provider = try provider(Puppet(failing: CancellationError()))
    await #expect(throws: CancellationError.self) { try await provider.setState(.active, of: id) }
    #expect(recorder.events.last?.errorCode?.rawValue == "cancelled" && recorder.events.last?.phase == .outcome)
  }

  @Test func foreignErrorsDoNotSpeak() async throws {
    struct Loud: Error, CustomStringConvertible { let description = "PIN 1234" }
    let provider = try provider(Puppet(failing: Loud()))
    let error = await #expect(throws: KMSError.self) { _ = try await provider.keyVersions(of: nil) }
    #expect(error?.code == .providerFailed && error?.description.contains("1234") == false)
    #expect(recorder.events.first?.errorMessage?.contains("1234") == false)
  }

  @Test func missingCapabilitiesAreLogged() async throws {
    let provider = try provider()
    let pii = try KeyName("pii")
    await #expect(throws: KMSError(.notSupported, "")) {
      try await provider.rewrap(wrapped, from: id, to: id, thumbprint: [], aad: [])
    }
    await #expect(throws: KMSError(.notSupported, "")) {
      try await provider.importKeyVersion(NewKeyVersion(key: pii), material: SecretBytes.random(count: 32))
    }
    await #expect(throws: KMSError(.notSupported, "")) { _ = try await provider.adoptableKeys() }
    await #expect(throws: KMSError(.notSupported, "")) {
      try await provider.adoptKey(NewKeyVersion(key: pii, id: id), restricting: false)
    }
    await #expect(throws: KMSError(.notSupported, "")) {
      try await provider.encrypt([1, 2, 3].span, under: id, aad: [1])
    }
    await #expect(throws: KMSError(.notSupported, "")) {
      _ = try await provider.decrypt(DirectCiphertext(iv: [], bytes: []), under: id, aad: [1])
    }
    let outcomes = recorder.events.filter { $0.phase == .outcome }
    #expect(
      outcomes.map(\.operation) == [
        .rewrap, .importVersion, .listAdoptable, .adoptVersion, .directEncrypt, .directDecrypt,
      ])
    #expect(outcomes.allSatisfy { $0.errorCode == .notSupported })
  }

  @Test func thePrincipalIsTheCallersOrTheTasks() async throws {
    let unnamed = AccessLoggedProvider(Puppet(), reporter: recorder)
    _ = try await unnamed.keyVersions(of: nil)
    try await withPrincipal("billing-service") {
      _ = try await unnamed.keyVersions(of: nil)
      _ = try await unnamed.accessed(by: Access(principal: "carol")).keyVersions(of: nil)
    }
    #expect(recorder.events.map(\.access.principal) == [nil, "billing-service", "carol"])
  }
}
