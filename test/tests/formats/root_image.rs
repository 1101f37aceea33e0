//! Machines whose root is a read-only image: found in the initrd or by its name on a disk, verified when asked, and when there
//! is none, or one that is not to be trusted, the machine says so and ends.

use bootwright_test::{Entry, ImageBuilder, Outcome, Parts, Story, file, http_get, noise, words};

/// Init and services on a root that nobody can write to, as on any other.
#[test]
fn a_root_image_in_the_initrd_serves() {
    let story = Story::new()
        .kernel("modules: [virtio, erofs]")
        .onboot(Entry::new("dhcp", "@pkg:REPO/pkg/dhcp").key("command", "[/usr/sbin/dhcp, \"-1\"]"))
        .onboot(Entry::shell("look", "grep ' / ' /proc/1/mounts").key("pid", "host"))
        .service(Entry::new("web", "@pkg:REPO/pkg/httpd").key("binds", "[\"/srv/www:/srv/www:ro\", \"store:/store\"]"))
        .volume("name: store")
        .file(&file("srv/www/index.html", "0644", "it answers\n"));
    let parts = Parts::of(story.build_tar(), story.dir());
    let image = parts.erofs("root.erofs");
    let bytes = std::fs::read(&image.path).expect("it was made");
    let initrd = parts.initrd("initrd", &[("usr/lib/bootwright/root.img", &bytes)]);

    let (mut machine, port) = parts.boot(&initrd, "").start_published(80);
    machine.sees("look: /dev/loop0 / erofs ro");
    machine.is_ready();
    assert!(http_get(port, "/").contains("it answers"));
    machine.powers_off();
    let said = machine.own();
    assert_eq!(said.len(), 5, "greeting, ready, and how it ended: {said:#?}");
    assert!(said[0].starts_with(words::GREETING) && said[1].starts_with(words::READY), "{said:#?}");
    // Gives its place among the machines that run at a time to the next.
    drop(machine);

    // A file that is another root than the one asked for is none.
    let other = "0123456789abcdef".repeat(2);
    let machine = parts.boot(&initrd, &format!("{}{other}", words::ROOT)).start();
    machine.has_no_root(&format!("is the root image {}; `{}{other}` is asked for", image.id, words::ROOT));
}

/// On disks, with dm-verity.
#[test]
fn a_root_image_on_a_disk_is_found_by_its_name_and_verified() {
    let story = Story::new();
    let noise = noise(512 << 10);
    let app = ImageBuilder::busybox().file("noise", 0o644, noise.as_slice()).write(story.dir(), "app");
    let script =
        "grep ' / ' /proc/1/mounts; cat /noise > /noise.copy || echo half of it cannot be read; exec sleep 1000";
    let story = story.service(Entry::new("app", &app).script(script).key("pid", "host"));
    let parts = Parts::of(story.build_tar(), story.dir());
    let initrd = parts.initrd("initrd", &[]);

    let image = parts.squashfs("root.squashfs");
    let (decoy, plain) = (image.renamed("decoy", &"f".repeat(32)), image.copied("plain"));
    let root = format!("{}{}", words::ROOT, image.id);
    let verity = format!("{root} {}{}", words::VERITY, image.verity());
    let damaged = image.copied("damaged");
    // In a block of its own, beyond what is read ahead when the machine boots.
    damaged.flip(damaged.position(&noise[300 << 10..][..64]));
    // The time of making: whatever the kernel thinks of it, it is not what was signed for.
    let worse = image.copied("worse");
    worse.flip(8);

    // A disk that is another root, one whose first partition is ours, and the same root once more.
    let boot = parts.boot(&initrd, &verity).disk(&decoy.disk()).disk(&damaged.partition("disk")).disk(&image.disk());
    let mut machine = boot.start();
    machine.sees("vdb1 is taken for root; vdc holds it as well");
    machine.sees("app: /dev/dm-0 / squashfs ro");
    machine.sees_all(&["is corrupted", "app: half of it cannot be read"]);
    machine.powers_off();
    drop(machine);

    let machine = parts.boot(&initrd, &verity).disk(&worse.disk()).start();
    machine.has_no_root("dm-verity refuses the root image of /dev/vda");
    let restart = format!("{verity} {}restart", words::CORRUPTION);
    let mut machine = parts.boot(&initrd, &restart).disk(&worse.disk()).start();
    assert_eq!(machine.ends(), Outcome::Rebooted);
    assert!(machine.own().is_empty(), "{:?}", machine.own());
    drop(machine);

    // No hash tree, no root, however good the image is.
    let machine = parts.boot(&initrd, &verity).disk(&plain.disk()).start();
    machine.has_no_root("cannot be verified: ");

    // A disk that comes when early has looked at all there are, and whose driver has not been loaded yet.
    let boot = parts.boot(&initrd, &format!("{root} loglevel=7")).device("pcie-root-port,id=later");
    let mut machine = boot.start();
    machine.sees("Run /init as init process");
    machine.plugs_in(&plain.path, "later");
    machine.sees("app: /dev/vda / squashfs ro");
    machine.powers_off();
    drop(machine);

    let boot = parts.boot(&initrd, &format!("{root} {}1", words::ROOT_WAIT)).disk(&decoy.disk());
    let machine = boot.qemu(["-drive", "if=none,id=empty,format=raw,size=1M,file.driver=null-co,file.size=1M"]);
    let machine = machine.device("virtio-blk-pci,drive=empty").start();
    let list = format!("vda holds the root image {}, vdb holds no root image", decoy.id);
    machine.has_no_root(&format!("no root image {} after 1 s: {list}", image.id));
}

/// The check of the memory comes first, in early as in init.
#[test]
fn too_little_memory_is_said_before_the_root_is_looked_for() {
    let story = Story::new();
    let parts = Parts::of(story.build_tar(), story.dir());
    let manifest = br#"{"version": 1, "memory_mib": 300, "segments": []}"#;
    let initrd = parts.initrd("initrd", &[("usr/lib/bootwright/manifest.json", manifest)]);
    for (word, needed) in [(String::new(), 300), (format!("{}310", words::MEMORY), 310)] {
        let mut machine = parts.boot(&initrd, &word).start();
        machine.sees(&format!("too little memory: 256 MiB present, {needed} MiB needed"));
        assert_eq!(machine.ends(), Outcome::OutOfMemory);
        assert_eq!(machine.own().len(), 2, "{:?}", machine.own());
    }
}

/// A kernel with all that it takes built in mounts the root itself and executes init: nothing else is mounted, and no descriptor
/// open when `/dev` was empty. Debian's kernels have modules, so a script stands in for the kernel.
#[test]
fn init_runs_on_a_root_that_the_kernel_has_mounted() {
    let story = Story::new().service(Entry::shell("app", "echo up; exec sleep 1000"));
    let parts = Parts::of(story.build_tar(), story.dir());
    let image = parts.squashfs("root.squashfs");
    let script = "#!/busybox sh\n\
        /busybox mount -t proc proc /proc\n\
        for module in virtio_pci virtio_blk squashfs; do /busybox modprobe $module; done\n\
        /busybox mount -t devtmpfs devtmpfs /dev\n\
        /busybox mount -t squashfs -o ro /dev/vda /root\n\
        /busybox umount /proc\n/busybox umount -l /dev\n\
        exec 0<&- 1>&- 2>&-\nexec /busybox switch_root /root /init\n";
    let busybox = std::fs::read(bootwright_test::BUSYBOX).expect("busybox-static is there");
    let initrd = parts.initrd_of("initrd", &[("busybox", &busybox), ("init", script.as_bytes())]);

    let mut machine = parts.boot(&initrd, &format!("{}200", words::MEMORY)).disk(&image.disk()).start();
    machine.sees("app: up");
    machine.powers_off();
    let said = machine.own();
    assert_eq!(said.len(), 5, "greeting, ready, and how it ended: {said:#?}");
    drop(machine);

    let mut machine = parts.boot(&initrd, &format!("{}300", words::MEMORY)).disk(&image.disk()).start();
    machine.sees("too little memory: 256 MiB present, 300 MiB needed");
    assert_eq!(machine.ends(), Outcome::OutOfMemory);
}
