import Strongroom

/// All that an application does: open a manager once, then encrypt and decrypt with it.
/// `quickStart(.load())` takes ./strongroom.yaml, as `strongroom init` writes it.
func quickStart(_ configuration: SuiteConfiguration) async throws -> String {
  let manager = try DataAtRestManager.open(configuration)

  // What the data is. Decryption needs the same, so that a value cannot be moved to another row or column.
  let context = try EncryptionContext([
    (name: "table", value: "customers"), (name: "column", value: "email"), (name: "row", value: "1001"),
  ])
  let sealed: [UInt8] = try await manager.encrypt("fatima@example.com", context: context, principal: "billing")
  let opened = try await manager.decryptString(sealed, context: context, principal: "billing")

  await manager.close()
  return "\(sealed.count) bytes encrypted, '\(opened)' decrypted"
}
