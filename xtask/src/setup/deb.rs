//! Reads a Debian package (deb(5)): an `ar` archive whose member `data.tar.*` holds the files.

use std::io::Read;

use anyhow::{Result, bail};

/// The contents of the first file in the package whose path (without the leading `./`) is `wanted`.
pub fn file(deb: impl Read, wanted: impl Fn(&str) -> bool) -> Result<Vec<u8>> {
    match files(deb, wanted)?.into_iter().next() {
        Some((_, contents)) => Ok(contents),
        None => bail!("it does not have the wanted file"),
    }
}

/// The paths (without the leading `./`) and contents of all files in the package whose path is `wanted`.
pub fn files(deb: impl Read, wanted: impl Fn(&str) -> bool) -> Result<Vec<(String, Vec<u8>)>> {
    with_tar(deb, |tar| files_in_tar(tar, wanted))
}

/// What `read` makes of the archive of the package's files.
pub fn with_tar<T>(deb: impl Read, read: impl FnOnce(&mut dyn Read) -> Result<T>) -> Result<T> {
    let mut archive = ar::Archive::new(deb);
    while let Some(member) = archive.next_entry() {
        let member = member?;
        let name = String::from_utf8_lossy(member.header().identifier()).into_owned();
        let Some(kind) = name.trim_end_matches('/').strip_prefix("data.tar") else { continue };
        let mut data: Box<dyn Read> = match kind {
            "" => Box::new(member),
            ".xz" => Box::new(lzma_rust2::XzReader::new(member, true)),
            ".gz" => Box::new(flate2::read::GzDecoder::new(member)),
            ".zst" => Box::new(ruzstd::decoding::StreamingDecoder::new(member)?),
            other => bail!("its files are packed in a way unknown here: data.tar{other}"),
        };
        return read(&mut data);
    }
    bail!("it has no member data.tar")
}

fn files_in_tar(tar: impl Read, wanted: impl Fn(&str) -> bool) -> Result<Vec<(String, Vec<u8>)>> {
    let mut files = Vec::new();
    for entry in tar::Archive::new(tar).entries()? {
        let mut entry = entry?;
        let path = entry.path()?.to_string_lossy().trim_start_matches("./").to_string();
        if entry.header().entry_type().is_file() && wanted(&path) {
            let mut contents = Vec::new();
            entry.read_to_end(&mut contents)?;
            files.push((path, contents));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A package with one file, its tar compressed by gzip.
    fn package(path: &str, contents: &[u8]) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, path, contents).unwrap();
        let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut gz, &tar.into_inner().unwrap()).unwrap();
        let data = gz.finish().unwrap();
        let mut deb = ar::Builder::new(Vec::new());
        deb.append(&ar::Header::new(b"debian-binary".to_vec(), 4), &b"2.0\n"[..]).unwrap();
        deb.append(&ar::Header::new(b"data.tar.gz".to_vec(), data.len() as u64), &data[..]).unwrap();
        deb.into_inner().unwrap()
    }

    #[test]
    fn a_file_comes_out_as_it_went_in() {
        let deb = package("boot/vmlinuz-6.1", b"kernel");
        assert_eq!(file(&deb[..], |path| path.starts_with("boot/vmlinuz")).unwrap(), b"kernel");
    }

    #[test]
    fn a_missing_file_is_an_error() {
        assert!(file(&package("boot/x", b"")[..], |path| path == "boot/y").is_err());
    }

    #[test]
    fn bytes_that_are_no_package_are_an_error() {
        assert!(file(&b"!<arch>\n"[..], |_| true).is_err());
        assert!(file(&b"nothing of the kind"[..], |_| true).is_err());
    }
}
