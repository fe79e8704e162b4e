import ArgumentParser
import DurableFiles
import Strongroom
import SystemPackage

struct Doctor: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "doctor",
    abstract: "Check configuration, providers, keys and files; say what to do where something is wrong.",
    discussion: """
      EXAMPLES
        strongroom doctor
        strongroom doctor --config /etc/strongroom.yaml --json
        strongroom doctor --module /usr/lib/softhsm/libsofthsm2.so --token demo --pin-source file:pin

      With --module nothing is configured yet: it opens a token and finds out by trying what it can do, how fast it is
      and what to know before relying on it. The PIN is tried once; nothing is left on the token.

      The exit code is that of the first problem.
      """)

  @OptionGroup var suite: SuiteOptions
  @OptionGroup var format: JSONOption
  @Option(help: "Examine a token behind this PKCS#11 module instead.")
  var module: String?
  @Option(help: "With --module: a text that it is started with; NSS wants one.")
  var initArgs: String?
  @Option(help: "With --module: the token's label; needed when there are several.")
  var token: String?
  @Option(help: "With --module: where the PIN is, such as file:pin, env:PIN or prompt:.")
  var pinSource = "prompt:"

  func validate() throws {
    guard module != nil || (token == nil && initArgs == nil) else {
      throw ValidationError("--token and --init-args need --module.")
    }
  }

  private struct Finding {
    let what: String
    let problem: KMSError?
    let detail: String
  }

  func run() async throws {
    if let module { return try await examine(module) }
    var findings: [Finding] = []
    func check(_ what: String, _ body: () async throws -> String) async -> Bool {
      do {
        findings.append(Finding(what: what, problem: nil, detail: try await body()))
        return true
      } catch {
        let problem = error as? KMSError ?? KMSError(.providerFailed, "\(error)")
        findings.append(Finding(what: what, problem: problem, detail: problem.description))
        return false
      }
    }
    var loaded: SuiteConfiguration?
    if await check(
      "configuration",
      {
        loaded = try suite.load()
        return loaded?.origin ?? ""
      }), let loaded
    {
      if await check("access log", { try Self.checkLog(loaded) }) {
        await inspect(loaded, check)
      }
    }
    report(findings)
    if let code = findings.lazy.compactMap(\.problem?.code).first { throw ExitCode(ExitStatus(code).rawValue) }
  }

  private func examine(_ module: String) async throws {
    #if PKCS11
      let report = try await TokenReport(module: module, initArguments: initArgs, token: token, pinSource: pinSource)
      report.print(asJSON: format.json)
      if !report.isUsable { throw ExitCode(ExitStatus(.notSupported).rawValue) }
    #else
      throw KMSError(.notSupported, "this build has no PKCS#11", advice: "Build it with the package trait PKCS11.")
    #endif
  }

  private func inspect(
    _ configuration: SuiteConfiguration, _ check: (String, () async throws -> String) async -> Bool
  ) async {
    var manager: DataAtRestManager?
    for provider in configuration.providers {
      guard let file = provider.secretFile else { continue }
      _ = await check("secret of \(provider.name)") { try Self.checkSecret(file) }
    }
    guard
      await check(
        "providers",
        {
          manager = try DataAtRestManager.open(configuration, attended: true)
          return configuration.providers.map(\.name).joined(separator: ", ")
        }), let manager
    else { return }
    let principal = suite.principal ?? SuiteOptions.unixUser
    await withPrincipal(principal) {
      var allServe = true
      for report in (try? await manager.health()) ?? [] {
        let serves = await check("provider \(report.provider.name)") {
          if let problem = report.health.problem {
            let detail = report.health.detail
            throw KMSError(problem, detail.hasSuffix(".") ? String(detail.dropLast()) : detail)
          }
          return report.health.detail
        }
        allServe = allServe && serves
      }
      guard allServe else { return await manager.close() }
      let key = configuration.dataAtRest.kmsKeyID
      let hasKey = await check("key \(key)") { try await Self.checkKey(key, manager) }
      for name in configuration.dataAtRest.recoveryRecipients where name != key {
        _ = await check("recovery key \(name)") { try await Self.checkRecoveryKey(name, manager) }
      }
      if hasKey {
        _ = await check("wrap and unwrap") {
          let probe: [UInt8] = Array("strongroom doctor".utf8)
          let sealed = try await manager.encrypt(probe)
          guard try await manager.decrypt(sealed) == probe else {
            throw KMSError(.doesNotOpen, "what was encrypted did not come back", advice: "Do not use this provider.")
          }
          return "a value was encrypted and decrypted"
        }
      }
      await manager.close()
    }
  }

  private static func checkLog(_ configuration: SuiteConfiguration) throws -> String {
    let folder = configuration.accessLog.directory
    guard let status = try FileStatus(folder) else { return "\(folder) (will be made)" }
    guard !status.isExposed else {
      throw KMSError(
        .accessDenied, "others may read or change \(folder)", advice: "Run: chmod -R go= \(folder)")
    }
    return folder.string
  }

  private static func checkSecret(_ file: FilePath) throws -> String {
    guard let status = try FileStatus(file) else {
      throw KMSError(
        .secretUnavailable, "\(file) is not there", advice: "Put the PIN or passphrase into it (one line, chmod 600).")
    }
    guard !status.isExposed else {
      throw KMSError(.accessDenied, "others may read or change \(file)", advice: "Run: chmod 600 \(file)")
    }
    return "\(file), readable by its owner only"
  }

  private static func checkKey(_ key: KeyName, _ manager: DataAtRestManager) async throws -> String {
    let versions = try await manager.keyVersions(of: key)
    guard let current = versions.current else {
      throw KMSError(
        .keyNotFound, "key '\(key)' has no active version",
        advice: versions.isEmpty ? "Run: strongroom key create \(key)" : "Run: strongroom key rotate \(key)")
    }
    let due = current.isDue(interval: manager.configuration.keyRotationInterval, now: .now())
    return "version \(current.id), \(age(of: current))" + (due ? "; rotation is due: strongroom key rotate \(key)" : "")
  }

  private static func checkRecoveryKey(_ key: KeyName, _ manager: DataAtRestManager) async throws -> String {
    guard let current = try await manager.keyVersions(of: key).current else {
      throw KMSError(
        .keyNotFound, "recovery key '\(key)' has no active version, so nothing can be encrypted",
        advice: "Make it with 'strongroom recovery create \(key)', or take it out of recovery-recipients.")
    }
    return "version \(current.id) in \(current.provider), \(age(of: current))"
  }

  private func report(_ findings: [Finding]) {
    if format.json {
      Terminal.print(
        JSONValue.array(
          findings.map { finding in
            .object([
              ("check", .string(finding.what)), ("ok", .bool(finding.problem == nil)),
              ("code", (finding.problem?.code.rawValue).map { .string($0) }), ("detail", .string(finding.detail)),
            ])
          }
        ).text)
      return
    }
    for finding in findings {
      let mark = finding.problem == nil ? Terminal.styled("ok  ", .good) : Terminal.styled("FAIL", .bad)
      Terminal.print("\(mark)  \(finding.what): \(finding.detail)")
    }
  }
}

/// `3 d`, `5 h`, `12 min`: how old a version is, for a person.
func age(of version: KeyVersion) -> String {
  guard let created = version.id.created else { return "age unknown" }
  if version.isDatedAhead(of: .now()) { return "dated ahead, \(created.description.prefix(10))" }
  let seconds = max(0, Timestamp.now().since(created).components.seconds)
  switch seconds {
  case ..<120: return "\(seconds) s old"
  case ..<7200: return "\(seconds / 60) min old"
  case ..<172_800: return "\(seconds / 3600) h old"
  default: return "\(seconds / 86_400) d old"
  }
}
