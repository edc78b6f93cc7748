# Windows: the platform runs in WSL2, on Debian 12. This finds a Debian there and hands over to it.
$ErrorActionPreference = 'Stop'

if (-not (Get-Command wsl.exe -ErrorAction SilentlyContinue)) {
    Write-Error 'WSL is missing. In an administrator shell: wsl --install -d Debian   (then restart and run this again)'
}
# wsl.exe writes UTF-16, which leaves zero characters behind.
$distributions = (wsl.exe --list --quiet) -replace "`0", '' | Where-Object { $_ -match '^Debian' }
if (-not $distributions) {
    Write-Error 'No Debian in WSL. Run: wsl --install -d Debian   (then run this again)'
}
$distribution = @($distributions)[0].Trim()
$folder = (wsl.exe -d $distribution -- wslpath -a ($PSScriptRoot -replace '\\', '/')).Trim()

Write-Host "install: handing over to $distribution, folder $folder"
wsl.exe -d $distribution --cd $folder -- ./install-all.sh @args
if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }
Write-Host "install: go on inside: wsl -d $distribution --cd $folder -- make up"
