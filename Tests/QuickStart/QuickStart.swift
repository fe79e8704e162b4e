import Strongroom

@main
struct QuickStart {
  static func main() async throws {
    let manager = try DataAtRestManager.open(.load())
    let context = try EncryptionContext([("table", "person"), ("column", "ssn"), ("row", "1001")])

    try await withPrincipal("billing-service") {
      let sealed = try await manager.encrypt("078-05-1120", context: context)
      let opened = try await manager.decryptString(sealed, context: context)
      print(sealed.count, "bytes sealed; opened:", opened == "078-05-1120")
    }
    await manager.close()
  }
}
